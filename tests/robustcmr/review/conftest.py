"""Reviews of small audits, served in a thread."""

from __future__ import annotations

import contextlib
import http.client
import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from robustcmr.audit.labels import Label, LabelFile
from robustcmr.review.app import review_app
from robustcmr.review.items import Item, Place, Suggestion
from robustcmr.review.pictures import Pictures
from robustcmr.review.sample import labels_file
from robustcmr.review.serve import address, listen, new_token, server
from robustcmr.review.state import Interval, Review
from robustcmr.sources.guess import open_source


def share_of_wrong(labels: Sequence[Label]) -> Interval | None:
    """A stand-in for the estimate: the share of wrong ones among those judged, by the normal distribution."""
    sure = [label.verdict != "right" for label in labels if label.verdict != "unsure"]
    if len(sure) < 3:
        return None
    value = sum(sure) / len(sure)
    half = 1.96 * math.sqrt(max(value * (1 - value), 0.05) / len(sure))
    return Interval(value, max(0.0, value - half), min(1.0, value + half))


@dataclass
class Served:
    """A page that is being served."""

    address: str
    token: str
    port: int
    review: Review
    pictures: Pictures
    folder: Path

    def request(
        self, path: str, body: Any = None, method: str | None = None, raw: bool = False, **headers: str
    ) -> tuple[int, bytes, dict[str, str]]:
        """Send a request as it stands: the path is not tidied up."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        data = body if raw or body is None else json.dumps(body).encode()
        sent = {"content-type": "application/json"} if body is not None else {}
        try:
            connection.request(method or ("GET" if body is None else "POST"), path, data, {**sent, **headers})
            answer = connection.getresponse()
            return answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()}
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        status, content, _ = self.request(f"/{self.token}/{path}")
        assert status == 200, content
        return json.loads(content)

    def post(self, path: str, **body: Any) -> tuple[int, Any]:
        status, content, _ = self.request(f"/{self.token}/{path}", body)
        return status, json.loads(content) if status == 200 else content.decode().strip()


def items_of(folder: Path, count: int = 12, **changes: Any) -> list[Item]:
    """The first pairs of an audit, in the order of its file."""
    rows = pq.read_table(folder / "pairs.parquet").slice(0, count).to_pylist()
    return [
        Item(
            row["id"],
            row["image"],
            row["caption"],
            Place(row["file"], row["row"]),
            number % 3,
            0.5,
            **changes,
        )
        for number, row in enumerate(rows)
    ]


@contextlib.contextmanager
def served(
    folder: Path, items: Sequence[Item], load_urls: bool = False, by: str | None = None
) -> Iterator[Served]:
    """Serve a review of these pairs of ``audited_pictures``."""
    source = open_source(folder.parent / "shop.parquet")
    review = Review(items, LabelFile(labels_file(folder)), share_of_wrong, "shop", load_urls, by)
    pictures = Pictures(source, review.places())
    token = new_token()
    with listen(0) as listening:
        running = server(review_app(review, pictures, token, load_urls))
        thread = threading.Thread(target=running.run, args=([listening],))
        thread.start()
        while not running.started:
            time.sleep(0.01)
        port = listening.getsockname()[1]
        try:
            yield Served(address(listening, token), token, port, review, pictures, folder)
        finally:
            running.should_exit = True
            thread.join()


@pytest.fixture
def serve(audited_pictures: Path) -> Iterator[Callable[..., Served]]:
    """Serve a review of the first pairs of an audit: ``serve(count, **options)``."""
    with contextlib.ExitStack() as stack:

        def begin(count: int = 12, items: Sequence[Item] | None = None, **options: Any) -> Served:
            given = items_of(audited_pictures, count) if items is None else items
            return stack.enter_context(served(audited_pictures, given, **options))

        yield begin


@pytest.fixture
def make_items() -> Any:
    """The first pairs of an audit: ``make_items(folder, count, **changes)``."""
    return items_of


@pytest.fixture
def suggested() -> tuple[Suggestion, ...]:
    """Two suggestions: a picture of the audit, and a caption."""
    return (
        Suggestion("image", "0003.png", Place("shop.parquet", 15), 0.75),
        Suggestion("caption", "a better <caption>", None, 0.5),
    )
