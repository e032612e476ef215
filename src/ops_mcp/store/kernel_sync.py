"""Making what is in a file durable while the program goes on: the kernel's own asynchronous `fdatasync`, without a thread.

A thread that waits for the disk has to be woken, and needs the interpreter before and after its wait; together that costs more
than the wait itself. Linux since 4.18 does it on its own (`IOCB_CMD_FDSYNC` of io_submit(2)) and tells an eventfd at the end.
"""

import contextlib
import ctypes
import errno
import os
import platform
import sys
from typing import NamedTuple

_FDSYNC, _TELLS_EVENTFD, _MOST_EVENTS = 3, 1, 8


class KernelSync:
    """One `fdatasync` at a time. `descriptor` becomes readable when it has ended."""

    def __init__(self) -> None:
        """Raises `OSError` where the kernel does not offer it, or a sandbox forbids it."""
        calls = _CALLS.get(platform.machine())
        if calls is None or sys.platform != "linux" or sys.maxsize < 2**32:
            raise OSError(0, "no asynchronous fdatasync is known for this machine")
        self._calls = calls
        self._call = ctypes.CDLL(None, use_errno=True).syscall
        self._context = ctypes.c_ulong(0)
        self._checked(self._call(calls.setup, _MOST_EVENTS, ctypes.byref(self._context)))
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._request = _Request(opcode=_FDSYNC, flags=_TELLS_EVENTFD, told=self.descriptor)
        self._requests = (ctypes.POINTER(_Request) * 1)(ctypes.pointer(self._request))

    def begin(self, descriptor: int) -> None:
        """Begin to make durable what was written to this file. Raises `OSError` where it cannot even begin."""
        self._request.descriptor = descriptor
        self._checked(self._call(self._calls.submit, self._context, ctypes.c_long(1), self._requests))

    def ended(self) -> OSError | None:
        """Take note of the end, waiting for it unless `descriptor` is readable; what went wrong, if anything did."""
        event = _Event()
        one = ctypes.c_long(1)
        while (got := self._call(self._calls.events, self._context, one, one, ctypes.byref(event), None)) != 1:
            if ctypes.get_errno() != errno.EINTR:  # a signal, while it waits
                self._checked(got)
        with contextlib.suppress(BlockingIOError):
            os.read(self.descriptor, 8)
        return OSError(-event.result, os.strerror(-event.result)) if event.result else None

    def close(self) -> None:
        self._call(self._calls.destroy, self._context)
        os.close(self.descriptor)

    def _checked(self, returned: int) -> None:
        if returned < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))


def kernel_sync() -> KernelSync | None:
    """What this kernel offers, if it does."""
    try:
        return KernelSync()
    except OSError:
        return None


class _Calls(NamedTuple):
    """Numbers of system calls, which the C library does not name."""

    setup: int
    destroy: int
    events: int
    submit: int


_CALLS = {"x86_64": _Calls(206, 207, 208, 209), "aarch64": _Calls(0, 1, 4, 2)}


class _Request(ctypes.Structure):
    """`struct iocb` of linux/aio_abi.h as little-endian machines lay it out."""

    _fields_ = (
        ("data", ctypes.c_uint64),
        ("key", ctypes.c_uint32),
        ("rw_flags", ctypes.c_uint32),
        ("opcode", ctypes.c_uint16),
        ("priority", ctypes.c_int16),
        ("descriptor", ctypes.c_uint32),
        ("buffer", ctypes.c_uint64),
        ("bytes", ctypes.c_uint64),
        ("offset", ctypes.c_int64),
        ("reserved", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("told", ctypes.c_uint32),
    )


class _Event(ctypes.Structure):
    """`struct io_event`."""

    _fields_ = (("data", ctypes.c_uint64), ("request", ctypes.c_uint64), ("result", ctypes.c_int64), ("more", ctypes.c_int64))
