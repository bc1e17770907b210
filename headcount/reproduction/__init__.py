"""The paper's tables and figures, reproduced: experiments, reports, figures and diagnostics."""
