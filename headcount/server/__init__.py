"""The HTTP API and the web page: routes, batching, video jobs and upload checks."""
