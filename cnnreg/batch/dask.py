"""Pairs on the workers of a dask.distributed scheduler that is running already."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from cnnreg.batch.worker import Outcome, Work, record_failure, register_task
from cnnreg.errors import CnnregError

PATIENCE = "20s"  # for the scheduler to answer
LOST = "the Dask workers that registered it were lost several times, perhaps for want of memory"


@dataclass
class Dask:
    """The scheduler at ``address``. The folder and the images must have the same paths on all machines."""

    address: str

    def run(self, works: Iterable[Work]) -> Iterator[Outcome]:
        """Outcomes as they come; two pairs wait at each thread of a worker.

        Raises:
            CnnregError: there is no scheduler, or it has no workers.
        """
        try:
            from distributed import Client
        except ImportError:
            raise CnnregError('--dask needs dask.distributed: pip install "cnnreg[dask]"') from None
        try:
            client: Any = Client(self.address, timeout=PATIENCE, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            raise CnnregError(f"no Dask scheduler answers at {self.address} ({error})") from None
        with client:
            with suppress(TimeoutError):
                client.wait_for_workers(1, timeout=PATIENCE)
            threads = sum(client.nthreads().values())
            if not threads:
                raise CnnregError(f"the Dask scheduler at {self.address} has no workers; start some with 'dask worker'")
            yield from self._run(client, iter(works), room=2 * threads)

    def _run(self, client: Any, works: Iterator[Work], *, room: int) -> Iterator[Outcome]:
        from distributed import KilledWorker, as_completed

        waiting: dict[Any, Work] = {}
        coming = as_completed(loop=client.loop)

        def send() -> None:
            for work in works:
                future = client.submit(register_task, work, pure=False)
                waiting[future] = work
                coming.add(future)
                if len(waiting) >= room:
                    return

        try:
            send()
            while waiting:
                future = next(coming)
                work = waiting.pop(future)
                try:
                    yield future.result()
                except KilledWorker:
                    yield record_failure(work, LOST)
                send()
        finally:
            client.cancel(list(waiting))
