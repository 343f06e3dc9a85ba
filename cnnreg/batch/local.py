"""Pairs one after the other in this process, or in several processes of this machine."""

import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field

from cnnreg.batch.worker import Outcome, Work, record_failure, register_task
from cnnreg.processes import follow_parent

KILLED = "the process that registered it was killed, perhaps for want of memory; try fewer --jobs"


@dataclass
class Local:
    """``jobs`` processes. One that is killed costs at most the pair that killed it."""

    jobs: int = 1
    _pool: ProcessPoolExecutor | None = field(default=None, init=False)

    def run(self, works: Iterable[Work]) -> Iterator[Outcome]:
        """Outcomes as they come; ``works`` is asked for as many as there is place for, so that it may read ahead."""
        if self.jobs == 1:
            yield from map(register_task, works)
            return
        try:
            yield from self._run(iter(works))
        except BaseException:
            self._stop()
            raise
        if self._pool:
            self._pool.shutdown()

    def _run(self, works: Iterator[Work]) -> Iterator[Outcome]:
        waiting: dict[Future[Outcome], Work] = {}
        while True:
            for work in works:
                waiting[self._submit(work)] = work
                if len(waiting) >= 2 * self.jobs:
                    break
            if not waiting:
                return
            suspects = deque[Work]()
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                work = waiting.pop(future)
                if isinstance(future.exception(), BrokenProcessPool):
                    suspects.append(work)
                else:
                    yield future.result()
            if suspects:
                suspects.extend(waiting.values())  # none of them will come any more
                waiting.clear()
                yield from self._apart(suspects)

    def _apart(self, suspects: Iterable[Work]) -> Iterator[Outcome]:
        """One at a time, to learn which of them kills its process."""
        self._stop()
        for work in suspects:
            try:
                yield self._submit(work).result()
            except BrokenProcessPool:
                self._stop()
                yield record_failure(work, KILLED)

    def _submit(self, work: Work) -> "Future[Outcome]":
        if self._pool is None:
            context = multiprocessing.get_context("spawn")  # a forked torch cannot use CUDA, nor its own threads
            self._pool = ProcessPoolExecutor(self.jobs, mp_context=context, initializer=follow_parent)
        try:
            return self._pool.submit(register_task, work)
        except BrokenProcessPool as error:  # since the last look
            broken: Future[Outcome] = Future()
            broken.set_exception(error)
            return broken

    def _stop(self) -> None:
        """End all processes, and wait until they are gone."""
        if self._pool is None:
            return
        processes = list((self._pool._processes or {}).values())
        for process in processes:
            process.terminate()
        self._pool.shutdown(cancel_futures=True)
        self._pool = None
