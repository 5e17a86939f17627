"""Jobs: bulk issue and import, with their progress, and the codes once."""

from typing import Any

from litestar import get, post
from litestar.response import Stream

from florin.kit.errors import InvalidRequest
from florin.web.console.frame import ConsoleFrame, open_frame
from florin.web.formats import minor_units
from florin.web.internal_api import ApiProblem
from florin.web.pages import PAGE, PageResponse, PageView
from florin.web.visitors import Visitor

UPLOAD_MAX = 16 * 2**20  # bytes of a file sent by a page; larger ones go to the API itself
_TYPED = ("program", "amount", "quantity")


@get("/console/bulk", **PAGE)
async def bulk_page(view: PageView, visitor: Visitor, after: str = "") -> PageResponse:
    frame = await open_frame(view, visitor)
    return await _show_bulk(frame, typed={}, errors={}, after=after)


@post("/console/bulk", status_code=200, **PAGE)
async def start_bulk(view: PageView, visitor: Visitor) -> PageResponse:
    """The first press shows what will be owed; the second one, on that page, starts the job."""
    frame = await open_frame(view, visitor)
    form = await view.form()
    typed = {name: form.text(name) for name in _TYPED}
    program = await frame.api.get(f"/programs/{typed['program']}")
    amount = minor_units(typed["amount"], program["currency"])
    quantity = form.whole("quantity")
    errors: dict[str, str] = {}
    if not amount:
        errors["amount"] = view.word("Type an amount, such as 25.00.")
    if not quantity:
        errors["quantity"] = view.word("Type a whole number, such as 2,500.")
    if errors or amount is None or quantity is None:
        return await _show_bulk(frame, typed=typed, errors=errors)
    if not form.ticked("sure"):
        return frame.show(
            "console/bulk-sure.html",
            program=program,
            amount=amount,
            quantity=quantity,
            typed=typed,
            key=view.new_key(),
        )
    body = {"program": program["id"], "amount": amount, "quantity": quantity}
    try:
        job = await frame.api.post("/cards/bulk", body, key=form.text("key"))
    except ApiProblem as refused:
        if refused.status not in {402, 422, 429}:
            raise
        return await _show_bulk(
            frame, typed=typed, errors=refused.details() or {"": refused.detail}
        )
    return view.go(f"/console/jobs/{job['id']}")


@get("/console/import", **PAGE)
async def import_page(view: PageView, visitor: Visitor) -> PageResponse:
    return await _show_import(await open_frame(view, visitor), errors={}, typed={})


@post("/console/import", status_code=200, request_max_body_size=UPLOAD_MAX, **PAGE)
async def start_import(view: PageView, visitor: Visitor) -> PageResponse:
    frame = await open_frame(view, visitor)
    if not view.request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise InvalidRequest("Send the file from the page", param="Content-Type")
    sent = await view.request.form()
    typed = {name: str(sent.get(name, "")).strip() for name in ("program", "count", "total", "key")}
    file: Any = sent.get("file")
    content = await file.read() if hasattr(file, "read") else b""
    errors: dict[str, str] = {}
    if not content:
        errors["file"] = view.word("Choose a file that has lines.")
    total = minor_units(typed["total"], frame.currency) if typed["total"] else None
    if typed["total"] and not total:
        errors["total"] = view.word("Type an amount, such as 25.00.")
    if typed["count"] and not typed["count"].isdecimal():
        errors["count"] = view.word("Type a whole number, such as 2,500.")
    if not errors:
        try:
            job = await frame.api.upload(
                "/cards/import",
                content,
                "text/csv",
                key=typed["key"],
                count=typed["count"] or None,
                amount=total,
                program=typed["program"] or None,
            )
        except ApiProblem as refused:
            if refused.status not in {402, 404, 413, 422, 429}:
                raise
            errors = {"file": refused.detail} | refused.details()
        else:
            return view.go(f"/console/jobs/{job['id']}")
    return await _show_import(frame, errors=errors, typed=typed)


@get("/console/jobs/{job:str}", **PAGE)
async def job_page(view: PageView, visitor: Visitor, job: str) -> PageResponse:
    frame = await open_frame(view, visitor)
    found = await frame.api.get(f"/jobs/{job}")
    program = await frame.api.get(f"/programs/{found['program']}") if found["program"] else None
    currency = frame.currency if program is None else program["currency"]
    return frame.show("console/job.html", job=found, currency=currency)


@post("/console/jobs/{job:str}/codes", status_code=200, **PAGE)
async def take_codes(view: PageView, visitor: Visitor, job: str) -> Stream:
    """The codes, once, as a file; streamed, since there may be a million."""
    answer = await view.api(visitor).download(f"/jobs/{job}/codes")
    return Stream(
        answer.chunks,
        media_type="text/csv",
        headers={
            "content-disposition": answer.headers[b"content-disposition"].decode("latin-1"),
            "cache-control": "no-store",
        },
    )


async def _show_bulk(
    frame: ConsoleFrame, *, typed: dict[str, str], errors: dict[str, str], after: str = ""
) -> PageResponse:
    programs = await frame.api.get("/programs", limit=100)
    jobs = await frame.api.get("/jobs", limit=25, starting_after=after)
    return frame.show(
        "console/bulk.html",
        status=422 if errors else 200,
        programs=programs["data"],
        jobs=jobs,
        typed=typed,
        errors=errors,
    )


async def _show_import(
    frame: ConsoleFrame, *, errors: dict[str, str], typed: dict[str, str]
) -> PageResponse:
    programs = await frame.api.get("/programs", limit=100)
    return frame.show(
        "console/import.html",
        status=422 if errors else 200,
        programs=programs["data"],
        errors=errors,
        typed=typed,
        key=frame.view.new_key(),
    )


handlers = [bulk_page, start_bulk, import_page, start_import, job_page, take_codes]
