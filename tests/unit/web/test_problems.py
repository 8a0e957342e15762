"""Problem details: their form, and that every type that we use is described."""

import ast
import json
from http import HTTPStatus
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError, field_validator
from starlette.exceptions import HTTPException

import infra
from infra.web import Problem, invalid
from infra.web.catalogue import PROBLEMS
from infra.web.cycle import STATUS_LINE
from infra.web.problems import problem_of

PROJECT = Path(infra.__file__).parents[1]


def test_a_problem_says_what_and_where():
    body = json.loads(Problem(409, "refused", "it is cancelled", code="cancelled").body("/v1/orders/1/place"))
    assert body.pop("request_id")
    assert body == {
        "type": "/problems/refused",
        "title": "Refused",
        "status": 409,
        "detail": "it is cancelled",
        "instance": "/v1/orders/1/place",
        "code": "cancelled",
    }


def test_a_problem_is_not_stored():
    head = dict(Problem(404, "not-found", "nothing").head(10))
    assert head == {
        b"content-type": b"application/problem+json",
        b"content-length": b"10",
        b"cache-control": b"no-store",
    }


def test_a_problem_keeps_its_headers():
    assert (b"retry-after", b"1") in Problem(503, "x", "later", headers={"Retry-After": "1"}).head(0)


class Line(BaseModel):
    quantity: int

    @field_validator("quantity")
    @classmethod
    def small(cls, value: int) -> int:
        if value > 10:
            raise ValueError("too many")
        return value


class Body(BaseModel):
    lines: tuple[Line, ...]


def faults(content):
    with pytest.raises(ValidationError) as refused:
        Body.model_validate(content)
    return json.loads(invalid(refused.value).body("/"))


def test_each_fault_names_its_field():
    body = faults({"lines": [{"quantity": 1}, {"quantity": 11}, {}]})
    assert [(one["field"], one["code"]) for one in body["errors"]] == [
        ("lines.1.quantity", "value_error"),
        ("lines.2.quantity", "missing"),
    ]


def test_what_was_sent_is_not_repeated():
    assert "s3cret" not in json.dumps(faults({"lines": [{"quantity": "s3cret"}]}))


def test_many_faults_are_counted_rather_than_listed():
    body = faults({"lines": [{}] * 1000})
    assert (len(body["errors"]), body["errors_left_out"]) == (20, 980)


def test_a_huge_field_name_is_cut():
    class Strict(BaseModel, extra="forbid"):
        pass

    with pytest.raises(ValidationError) as refused:
        Strict.model_validate({"x" * 100_000: 1})
    assert len(invalid(refused.value).body("/")) < 1000


def used_types():
    """Every type that stands as a literal in a call of `Problem`."""
    for package in ("infra", "domains", "projections", "gateway"):
        for file in (PROJECT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Problem" and len(node.args) > 1:
                    for part in ast.walk(node.args[1]):
                        if isinstance(part, ast.Constant) and isinstance(part.value, str):
                            yield part.value, file.relative_to(PROJECT)


def test_every_type_that_is_used_is_described():
    used = dict(used_types())
    assert len(used) > 10
    assert {slug: file for slug, file in used.items() if slug not in PROBLEMS} == {}


@pytest.mark.parametrize("status", [status for status in HTTPStatus if status >= 400])
def test_every_error_of_the_framework_has_a_problem_with_a_page(status):
    assert problem_of(HTTPException(status)).type in PROBLEMS


@pytest.mark.parametrize(
    ("status", "phrase"), [(200, "OK"), (413, "Content Too Large"), (422, "Unprocessable Content")]
)
def test_a_status_has_its_name_of_today(status, phrase):
    assert STATUS_LINE[status] == f"HTTP/1.1 {status} {phrase}\r\n".encode()


def test_a_framework_s_body_too_large_is_ours():
    assert problem_of(HTTPException(413)).type == "content-too-large"
