# SPDX-License-Identifier: Apache-2.0
"""The host side of one ivshmem device without vgpud: what the guest driver's own tests talk to.

Plays keeper, broker and executor as far as a driver can see: the connection protocol, the header, a
channel's states, cleaning. Peer 0 is the host (its eventfds are the doorbells), peer 1 the guest
(its eventfds are the MSI-X vectors). Nothing is ever read from the socket.
"""
import array
import ctypes
import fcntl
import mmap
import os
import select
import socket
import struct
import threading
import time

MAGIC, VERSION = 0x55504756, 1
CHANNELS, VECTORS = 32, 33
EXTENT = 2 << 20
STRIDE = 6 << 20
WISH_OFF, CHANNEL_OFF = 16 << 10, 2 << 20
EXTENT_OFF = CHANNEL_OFF + CHANNELS * STRIDE
OWNER_OFF = WISH_OFF + 4 * CHANNELS
FREE, STARTING, RUN, DEAD = range(4)
DEVICE_ATTRS = 192


def bounce(k):
    """Where channel k's bounce area begins: its rings are 2 MiB."""
    return CHANNEL_OFF + k * STRIDE + (2 << 20)


class Status(ctypes.LittleEndianStructure):
    _fields_ = [(n, ctypes.c_uint32) for n in ('state', 'generation', 'error', 'reserved')]


class Header(ctypes.LittleEndianStructure):
    """struct vgpu_header of wire/layout.h, up to the device information."""
    _fields_ = ([('magic', ctypes.c_uint32), ('version', ctypes.c_uint32),
                 ('bar_size', ctypes.c_uint64)] +
                [(n, ctypes.c_uint32) for n in ('vm_id', 'pool', 'priority', 'weight')] +
                [('quota', ctypes.c_uint64)] +
                [(n, ctypes.c_uint32) for n in ('status', 'error', 'channels', 'extents')] +
                [(n, ctypes.c_uint64) for n in ('wish_off', 'channel_off', 'channel_stride',
                                                'extent_off')] +
                [('devices', ctypes.c_uint32), ('reserved', ctypes.c_uint32 * 15),
                 ('channel', Status * CHANNELS)])


class Server:
    """One VM's device; a fresh, sealed, zero BAR2 for every connection."""

    def __init__(self, path, size=256 << 20, obey=True, magic=MAGIC):
        self.path, self.size, self.magic = path, size, magic
        self.obey = obey  # act as the broker: wanted -> RUN, 0 -> cleaned and FREE
        self.cond = threading.Condition()
        self.bells = [0] * VECTORS
        self.connections = 0
        self.mem = self.conn = None
        self.stop_r, self.stop_w = os.pipe()
        if os.path.exists(path):
            os.unlink(path)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(1)
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        os.write(self.stop_w, b'x')
        self.thread.join()
        self.listener.close()

    # ---- the connection ----

    def _new_memory(self):
        fd = os.memfd_create('bar2', os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, self.size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS,
                    fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        self.fd = fd
        self.mem = mmap.mmap(fd, self.size)
        h = self.header = Header.from_buffer(self.mem)
        h.version, h.bar_size, h.vm_id, h.pool, h.priority, h.weight = VERSION, self.size, 7, 0, 1, 50
        h.status, h.channels, h.extents = 1, CHANNELS, (self.size - EXTENT_OFF) // EXTENT
        h.wish_off, h.channel_off, h.channel_stride = WISH_OFF, CHANNEL_OFF, STRIDE
        h.extent_off, h.devices = EXTENT_OFF, 1
        h.magic = self.magic

    def _send(self, conn, value, fd=None):
        anc = []
        if fd is not None:
            anc = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [fd]))]
        conn.sendmsg([struct.pack('<q', value)], anc)

    def _connect(self):
        conn = self.listener.accept()[0]
        self._new_memory()
        self.host_fds = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(VECTORS)]
        self.guest_fds = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(VECTORS)]
        self._send(conn, 0)
        self._send(conn, 1)
        self._send(conn, -1, self.fd)
        for fd in self.host_fds:
            self._send(conn, 0, fd)
        for fd in self.guest_fds:
            self._send(conn, 1, fd)
        with self.cond:
            self.conn = conn
            self.connections += 1
            self.cond.notify_all()

    def _disconnect(self):
        with self.cond:
            self.conn.close()
            self.conn = None
            self.cond.notify_all()
        for fd in self.host_fds + self.guest_fds + [self.fd]:
            os.close(fd)

    def _serve(self):
        while True:
            watch = [self.stop_r]
            watch += [self.conn] + self.host_fds if self.conn else [self.listener]
            ready = select.select(watch, [], [], 0.1)[0]  # bells are hints: look every 100 ms
            if self.stop_r in ready:
                return
            if self.listener in ready:
                self._connect()
            elif self.conn and self.conn in ready:
                self._disconnect()  # the protocol has no message from QEMU: this is its end
            elif self.conn:
                self._look([fd for fd in ready if fd in self.host_fds])

    # ---- keeper and broker, in small ----

    def _look(self, rung):
        with self.cond:
            for fd in rung:
                self.bells[self.host_fds.index(fd)] += os.eventfd_read(fd)
            if self.obey:
                for k in range(CHANNELS):
                    self._follow(k)
            self.cond.notify_all()

    def _follow(self, k):
        st, want = self.header.channel[k], self.wanted(k)
        if st.state != FREE and want != st.generation:
            self.clean(k)
        elif st.state == FREE and want:
            self.set_state(k, RUN, want)

    def wanted(self, k):
        return struct.unpack_from('<I', self.mem, WISH_OFF + 4 * k)[0]

    def owner(self, e):
        return self.mem[OWNER_OFF + e]

    def set_state(self, k, state, generation, error=0):
        """As the host must: the state last, then the VM-wide interrupt."""
        st = self.header.channel[k]
        st.generation, st.error = generation, error
        st.state = state
        self.ring(0)

    def clean(self, k):
        self._zero(CHANNEL_OFF + k * STRIDE, STRIDE)
        for e in range(self.header.extents):
            if self.owner(e) == k + 1:
                self._zero(EXTENT_OFF + e * EXTENT, EXTENT)
        self.set_state(k, FREE, 0)

    def _zero(self, off, size):
        self.mem[off:off + size] = bytes(size)

    def ring(self, vector):
        os.eventfd_write(self.guest_fds[vector], 1)

    # ---- for tests ----

    def wait_for(self, test, timeout=60, what='the guest'):
        with self.cond:
            if not self.cond.wait_for(test, timeout):
                raise TimeoutError(f'waiting for {what}: not within {timeout} s')

    def run_channels(self):
        return [k for k in range(CHANNELS) if self.header.channel[k].state == RUN]
