"""Requests generated from the OpenAPI document: none gives a 5xx, and every response is as described."""

import pytest
from helpers.serving import image_file, serving
from hypothesis import HealthCheck, given, settings, strategies

schemathesis = pytest.importorskip("schemathesis")
from schemathesis import checks  # noqa: E402

CHECKS = (
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
)


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    folder = tmp_path_factory.mktemp("openapi")
    (folder / "photos").mkdir()
    (folder / "photos" / "a.png").write_bytes(image_file(4))
    with serving(folder, project=str(folder / "photos")) as (client, _):
        yield schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")


def test_the_api_does_what_its_description_says(api):
    for found in api.get_all_operations():
        operation = found.ok()

        @given(case=operation.as_strategy(), known=strategies.booleans())
        @settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        def check(case, known):
            if "name" in (case.path_parameters or {}) and known:  # a generated name would only give 404
                case.path_parameters["name"] = "a.png"
            case.call_and_validate(checks=CHECKS)

        check()


def test_every_route_is_described(api):
    paths = api.raw_schema["paths"]
    assert {"/v1/count", "/v1/overlay", "/v1/video", "/v1/jobs/{id}", "/v1/models", "/v1/project"} <= set(paths)
    for path, methods in paths.items():
        for method, operation in methods.items():
            assert operation.get("description"), f"{method} {path} has no description"
