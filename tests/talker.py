"""A process that is listened to."""

import os
import subprocess
import threading
from pathlib import Path
from typing import IO


class Talker:
    """A process whose output is read along; `until` waits for words in it."""

    def __init__(self, command: list[str], folder: Path, **environ: str) -> None:
        self.said: list[str] = []
        self._heard = threading.Condition()
        self._ended = False
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout is not None
        self._thread = threading.Thread(target=self._listen, args=(self.process.stdout,), daemon=True)
        self._thread.start()

    def _listen(self, output: IO[str]) -> None:
        for line in output:
            with self._heard:
                self.said.append(line.rstrip("\n"))
                self._heard.notify_all()
        with self._heard:
            self._ended = True
            self._heard.notify_all()

    def until(self, words: str, seconds: float) -> None:
        """Wait until a line with these words was said."""
        with self._heard:
            heard = self._heard.wait_for(lambda: self._ended or any(words in line for line in self.said), seconds)
        assert heard, f"{words!r} was not said in {seconds} s:\n{self.text}"
        assert any(words in line for line in self.said), f"it ended without {words!r}:\n{self.text}"

    def end(self, seconds: float) -> int:
        """Wait for the end; return the exit code."""
        code = self.process.wait(seconds)
        self._thread.join(10)
        return code

    @property
    def text(self) -> str:
        return "\n".join(self.said)
