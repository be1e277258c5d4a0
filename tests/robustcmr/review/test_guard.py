"""Who is let in: this machine, with the token, with small requests, to what belongs to the review."""

import json
import socket

import pytest

from robustcmr.review.guard import LARGEST_BODY, names_this_machine
from robustcmr.review.items import key_of


def test_the_page_and_its_parts_come_with_the_token(serve):
    page = serve()
    for path, kind in (("", "text/html"), ("page.js", "text/javascript"), ("page.css", "text/css")):
        status, content, headers = page.request(f"/{page.token}/{path}")
        assert status == 200
        assert content
        assert headers["content-type"].startswith(kind)


def test_nothing_comes_without_the_token(serve):
    page = serve()
    last = "a" if page.token[-1] != "a" else "b"
    wrong = (
        "",
        page.token[:-1],
        f"{page.token}a",
        page.token[:-1] + last,
        "%C3%A4" * 43,
        page.token.swapcase(),
    )
    for token in wrong:
        for path in ("", "state?by=Ada", "page.js", "picture/0", "verdict", "nothing"):
            status, content, headers = page.request(f"/{token}/{path}")
            assert status == 403
            assert (
                content == b"the address has no valid token; open the one that 'robustcmr review' printed\n"
            )
            assert "default-src 'none'" in headers["content-security-policy"]


def test_a_verdict_without_the_token_is_not_written(serve):
    page = serve()
    body = {"pair": page.review.items[0].key, "verdict": "wrong", "by": "Eve", "mark": "1"}
    assert page.request("/verdict", body)[0] == 403
    assert page.request(f"/{page.token[:-1]}/verdict", body)[0] == 403
    assert not (page.folder / "labels.jsonl").exists()


HOSTS = (
    ("127.0.0.1", True),
    ("127.0.0.1:80", True),
    ("localhost:8000", True),
    ("LocalHost", True),
    ("[::1]:8000", True),
    ("[::1]", True),
    ("evil.example", False),
    ("evil.example:8000", False),
    ("localhost.evil.example", False),
    ("127.0.0.1.evil.example:8000", False),
    ("evil.example#localhost", False),
    ("localhost:8000@evil.example", False),
    ("192.168.1.2:8000", False),
    ("0.0.0.0", False),
    ("", False),
)


def test_only_names_of_this_machine_are_hosts(serve):
    page = serve(3)
    for host, welcome in HOSTS:
        assert names_this_machine(host) == welcome
        status, content, _ = page.request(f"/{page.token}/state", Host=host)
        assert status == (200 if welcome else 421)
        assert welcome or b"must name this machine" in content


def test_two_hosts_and_no_host_are_refused(serve):
    page = serve(3)
    for lines in ("", "Host: localhost\r\nHost: evil.example\r\n"):
        with socket.create_connection(("127.0.0.1", page.port), 10) as connection:
            connection.sendall(
                f"GET /{page.token}/state HTTP/1.1\r\n{lines}Connection: close\r\n\r\n".encode()
            )
            answer = connection.makefile("rb").read()
        assert answer.split()[1] in (b"400", b"421")
        assert b"total" not in answer


def test_the_server_listens_on_the_loopback_interface_alone(serve):
    page = serve(3)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; tells this machine's other address
        except OSError:
            pytest.skip("this machine has no other address")
        other = probe.getsockname()[0]
    if other.startswith("127."):
        pytest.skip("this machine has no other address")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((other, page.port), 2).close()


PATHS = (
    "picture/../../../../etc/passwd",
    "picture/..%2f..%2f..%2fetc%2fpasswd",
    "picture/%2e%2e/%2e%2e/etc/passwd",
    "picture//etc/passwd",
    "picture/0000.png",
    "picture/shop.parquet",
    "picture/%00",
    "../pairs.parquet",
    "page.css/../../labels.jsonl",
    "labels.jsonl",
)


def test_files_are_never_named_by_path(serve):
    page = serve()
    for path in PATHS:
        status, content, _ = page.request(f"/{page.token}/{path}")
        assert status == 404, path
        assert b"root:" not in content
        assert len(content) < 100


def test_pictures_are_served_by_key_with_their_own_bytes(serve):
    from io import BytesIO

    from PIL import Image

    page = serve(100)
    state = page.get("state?by=Ada")
    card = state["queue"][0]
    status, content, headers = page.request(f"/{page.token}/picture/{card['picture']}")
    assert (status, headers["content-type"]) == (200, "image/jpeg")
    with Image.open(BytesIO(content)) as picture:
        red, *_ = picture.convert("RGB").getpixel((5, 5))
    assert abs(red - 12 * (int(card["id"][-4:]) // 5)) < 6


def test_a_pair_of_another_audit_is_not_served_and_takes_no_verdict(serve):
    page = serve(5)  # pair-0050 is in the audit, and not in this sample
    for other in ("pair-0050", "somebody else's"):
        assert page.request(f"/{page.token}/picture/{key_of(other)}")[0] == 404
        status, why = page.post("verdict", pair=key_of(other), verdict="wrong", by="Ada", mark="1")
        assert (status, why) == (404, "this sample has no such pair; load the page again")
    assert not (page.folder / "labels.jsonl").exists()


@pytest.mark.parametrize("counted", [True, False])
def test_huge_bodies_are_refused_before_they_are_kept(serve, counted):
    page = serve(3)
    if counted:
        assert page.request(f"/{page.token}/verdict", {"by": "a" * LARGEST_BODY})[0] == 413
    else:
        chunk = b"%x\r\n" % 8192 + b"a" * 8192 + b"\r\n"
        head = f"POST /{page.token}/verdict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        with socket.create_connection(("127.0.0.1", page.port), 10) as connection:
            connection.sendall(head.encode())
            try:
                for _ in range(4000):  # 32 MB, which are not read to their end
                    connection.sendall(chunk)
            except OSError:
                pass
            try:
                answer = connection.recv(100)
            except OSError:
                answer = b" 413 "
        assert b" 413 " in answer or answer == b""
    assert not (page.folder / "labels.jsonl").exists()
    assert page.get("state")["total"] == 3  # it still serves


BODIES = (
    (b"", "does not fit"),
    (b"{", "does not fit"),
    (b"[" * 10_000, "does not fit"),
    (b'"\xff"', "does not fit"),
    (b"[]", "does not fit"),
    (b'{"pair": "a"}', "verdict is missing"),
    (b'{"pair": "a", "verdict": "maybe", "by": "Ada", "mark": "1"}', "does not fit"),
    (b'{"pair": 3, "verdict": "wrong", "by": "Ada", "mark": "1"}', "does not fit"),
)


def test_requests_that_do_not_fit_are_answered_by_a_sentence(serve):
    page = serve(3)
    for body, why in BODIES:
        status, content, _ = page.request(f"/{page.token}/verdict", body, raw=True)
        assert status == 400
        assert why in content.decode()
        assert content.count(b"\n") == 1


def test_forms_of_other_pages_are_no_verdicts(serve):
    page = serve(3)
    body = json.dumps({"pair": page.review.items[0].key, "verdict": "wrong", "by": "Eve", "mark": "1"})
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        headers = {"content-type": kind}
        assert page.request(f"/{page.token}/verdict", body.encode(), raw=True, **headers)[0] == 400
    assert page.request(f"/{page.token}/verdict", method="GET")[0] == 405
    assert not (page.folder / "labels.jsonl").exists()


def test_nothing_from_outside_is_loaded_and_the_token_does_not_leak(serve):
    page = serve(3)
    for path in ("", "state", "nothing"):
        _, _, headers = page.request(f"/{page.token}/{path}")
        policy = headers["content-security-policy"]
        assert "http:" not in policy
        assert "'unsafe" not in policy
        assert headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in headers
        assert "set-cookie" not in headers
    text = b"".join(page.request(f"/{page.token}/{path}")[1] for path in ("", "page.css", "page.js"))
    for line in text.decode().splitlines():
        assert "http" not in line.replace("http://www.w3.org/2000/svg", "")


def test_pictures_of_other_servers_are_permitted_on_request(serve):
    page = serve(3, load_urls=True)
    assert (
        "img-src 'self' data: http: https:" in page.request(f"/{page.token}/")[2]["content-security-policy"]
    )
