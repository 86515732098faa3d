"""The output folder of a batch. Only the process that holds its lock writes: workers send it what they have made."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from res2net_runtime.batch.plan import Plan, find_difference
from res2net_runtime.batch.work import ShardResult
from res2net_runtime.errors import Res2NetError
from res2net_runtime.files import make_output_folder, replacing, sync_to_disk
from res2net_runtime.locks import LockedError, WriterLock
from res2net_runtime.result_files import JsonLines, read_json_lines
from res2net_runtime.system_errors import explain
from res2net_runtime.texts import clip, printable

__all__ = ["FAILURES", "Store"]

logger = logging.getLogger(__name__)

MANIFEST, PLAN, JOURNAL, FAILURES, RESULTS = (
    "manifest.json",
    "images.jsonl",
    "shards.jsonl",
    "failures.jsonl",
    "results",
)
_LOCK = ".batch.lock"
# What is read again of a line of the journal.
_RECORD_TYPES = {"images": int, "failed": int, "detections": int, "bytes": int, "engine": str, "failures": list}
_SCHEMA = {"name": "res2net_runtime.batch", "version": 1}


class Store:
    """The output folder; use it as a context manager. A shard is finished when ``shards.jsonl`` has a line for it.

    Args:
        folder: It is created.
        settings: What decides the results, by the name of its flag. A folder that was made with other ones is refused.
        write_plan: Writes the images into a file.
        retry_failed: Do shards with failed images again.

    Raises:
        Res2NetError: Another process writes into the folder; it holds something else, or was made with other settings; it
            cannot be written.

    Attributes:
        plan: The images.
        done: The line of each finished shard, by number.
    """

    def __init__(
        self,
        folder: str,
        settings: Mapping[str, Any],
        write_plan: Callable[[Path], Plan],
        retry_failed: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self._settings = dict(settings)
        self._write_plan = write_plan
        self._retry_failed = retry_failed
        self._stack = contextlib.ExitStack()
        self.plan: Plan
        self.done: dict[int, dict[str, Any]] = {}

    def __enter__(self) -> Store:
        make_output_folder(self.folder, option="--output")
        with contextlib.ExitStack() as stack, self._saying_what_failed():
            stack.enter_context(self._locked())
            before = self._read_manifest()
            (self.folder / RESULTS).mkdir(exist_ok=True)
            self.plan = self._make_plan(before)
            if before is not None:
                self._compare(before)
            self._read_journal()
            self._write_manifest("running")
            self._journal = stack.enter_context(JsonLines(self.folder / JOURNAL, keeps_old=True))
            stack.callback(self._write_failures)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        with self._saying_what_failed():
            self._stack.close()

    @property
    def left(self) -> list[int]:
        """Numbers of the shards that are not finished."""
        return [index for index in range(self.plan.shard_count) if index not in self.done]

    @property
    def has_detections(self) -> bool:
        """Whether results are those of a detector."""
        return bool(self._settings["task"] == "detection")

    def count(self, key: str) -> int:
        """Return a sum over the finished shards: of ``images``, ``failed`` or ``detections``."""
        return sum(one[key] for one in self.done.values())

    def add(self, result: ShardResult) -> None:
        """Write a shard: whole or not at all, even if the power fails.

        Raises:
            Res2NetError: It cannot be written.
        """
        path = self.folder / RESULTS / self._file_name(result.index)
        with self._saying_what_failed():
            with replacing(path) as unfinished:
                unfinished.write_bytes(result.content)
                sync_to_disk(unfinished)
            sync_to_disk(path.parent)
            record = {
                "file_name": f"{RESULTS}/{path.name}",
                "shard": result.index,
                "images": result.done + len(result.failures),
                "failed": len(result.failures),
                "detections": result.found,
                "bytes": len(result.content),
                "sha256": hashlib.sha256(result.content).hexdigest(),
                "engine": result.engine,
                "seconds": round(result.seconds, 3),
                "failures": result.failures,
            }
            self._journal.add(record)
        self.done[result.index] = record

    def finish(self) -> None:
        """Write the manifest of a batch that is complete.

        Raises:
            Res2NetError: It cannot be written.
        """
        with self._saying_what_failed():
            self._write_manifest("complete")

    def _file_name(self, index: int) -> str:
        return f"{index:06d}.{self._settings['format']}"

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            lock = WriterLock(self.folder / _LOCK)
            lock.acquire()
        except LockedError as error:
            raise Res2NetError(
                f"Another run writes into '{printable(self.folder)}': {error}. Wait for it, or pass another --output. More "
                "--processes, or --address with a cluster, make one run faster."
            ) from error
        try:
            yield
        finally:
            lock.release()

    @contextlib.contextmanager
    def _saying_what_failed(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Res2NetError(
                f"The results cannot be written into '{printable(self.folder)}': {explain(error, 'pass another --output')} The "
                "finished shards are whole; the same command goes on after them."
            ) from error

    def _read_manifest(self) -> dict[str, Any] | None:
        path = self.folder / MANIFEST
        if not path.exists():
            others = [name for name in os.listdir(self.folder) if not name.startswith(".")]
            if set(others) - {PLAN, RESULTS}:  # what a run leaves that was ended at its beginning
                raise Res2NetError(
                    f"--output '{printable(self.folder)}' holds other files, such as '{printable(sorted(others)[0])}'. Pass a "
                    "new or an empty folder."
                )
            return None
        try:
            content = json.loads(path.read_text("utf-8"))
        except (ValueError, RecursionError):
            content = None
        if (
            not isinstance(content, dict)
            or content.get("schema") != _SCHEMA
            or not isinstance(content.get("settings"), dict)
        ):
            raise Res2NetError(
                f"'{printable(path)}' was not written by this version of the command. Pass another --output."
            )
        return content

    def _make_plan(self, before: dict[str, Any] | None) -> Plan:
        path = self.folder / PLAN
        with replacing(path) as unfinished:
            plan = self._write_plan(unfinished)
            if before is not None and before.get("source", {}).get("sha256") != plan.sha256:
                what = f": {find_difference(path, unfinished)}" if path.exists() else ""
                raise Res2NetError(
                    f"'{printable(self.folder)}' was begun with other images{what}. Pass the same ones, or another --output "
                    "for these."
                )
            sync_to_disk(unfinished)
        return Plan(path, plan.count, plan.sha256, plan.ids, plan.shard_size, plan.offsets)

    def _compare(self, before: dict[str, Any]) -> None:
        old = before["settings"]
        now = json.loads(json.dumps(self._settings))
        changed = [
            f"{key} was {_show(old.get(key))} and is {_show(now.get(key))}"
            for key in dict.fromkeys([*old, *now])
            if old.get(key) != now.get(key)
        ]
        if changed:
            raise Res2NetError(
                f"'{printable(self.folder)}' was begun with other settings: {'; '.join(changed)}. Pass the same ones to go on, "
                "or another --output."
            )

    def _read_journal(self) -> None:
        for record in read_json_lines(self.folder / JOURNAL):
            index = record.get("shard")
            if type(index) is not int or not 0 <= index < self.plan.shard_count:
                raise Res2NetError(
                    f"'{printable(self.folder / JOURNAL)}' names shard {clip(index)} of {self.plan.shard_count}. Pass another "
                    "--output."
                )
            wrong = next((key for key, kind in _RECORD_TYPES.items() if type(record.get(key)) is not kind), None)
            if wrong is not None:
                raise Res2NetError(
                    f"'{printable(self.folder / JOURNAL)}' has the {wrong} {clip(record.get(wrong))} for shard {index}; "
                    "something else has written into it. Pass another --output."
                )
            self.done[index] = record  # a later line is about a later run
        for index, record in list(self.done.items()):
            path = self.folder / RESULTS / self._file_name(index)
            if not path.is_file() or path.stat().st_size != record.get("bytes"):
                logger.warning("'%s' is not as it was written; its images are run again", printable(path))
                del self.done[index]
            elif self._retry_failed and record["failed"]:
                del self.done[index]

    def _write_failures(self) -> None:
        """Collect the failed images of all finished shards, also when a run ends early."""
        with replacing(self.folder / FAILURES) as unfinished, open(unfinished, "w", encoding="ascii") as file:
            for index in sorted(self.done):
                file.writelines(json.dumps(one) + "\n" for one in self.done[index]["failures"])

    def _write_manifest(self, status: str) -> None:
        plan = self.plan
        engines = Counter(one["engine"] for one in self.done.values())
        content = {
            "schema": _SCHEMA,
            "status": status,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "settings": self._settings,
            "source": {"images": plan.count, "sha256": plan.sha256, "ids": plan.ids},
            "shards": {"count": plan.shard_count, "done": len(self.done)},
            "images": {"done": self.count("images") - self.count("failed"), "failed": self.count("failed")},
            "detections": self.count("detections"),
            "engines": dict(sorted(engines.items())),
        }
        with replacing(self.folder / MANIFEST) as unfinished:
            unfinished.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            sync_to_disk(unfinished)


def _show(value: object) -> str:
    return "not given" if value is None else clip(value)
