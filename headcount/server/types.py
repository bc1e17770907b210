"""Types that several modules of the server use."""

from typing import Any

JsonObject = dict[str, Any]
