# SPDX-License-Identifier: Apache-2.0
"""What every VM test needs: arguments, the image, and TAP output that cannot pass by accident."""
import argparse
import os
import shutil
import sys
import tempfile
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, '..', '..', 'tools')]
import guest_image  # noqa: E402

SKIP = 77


def skip(reason):
    print(f'1..0 # SKIP {reason}')
    sys.exit(SKIP)


def arguments(doc, stage=False, **numbers):
    """numbers: --NAME N, with its default."""
    ap = argparse.ArgumentParser(description=doc.splitlines()[0])
    ap.add_argument('--build', required=True, help='build directory')
    ap.add_argument('--agent', required=True)
    ap.add_argument('--ko', default='')
    ap.add_argument('--program', action='append', default=[], help='into the guest, /opt/vgpu/bin')
    ap.add_argument('--only', help='run only the group of cases of this name')
    if stage:
        ap.add_argument('--stage', required=True, help='installed tree ("make stage")')
    for name, value in numbers.items():
        ap.add_argument('--' + name, type=int, default=value)
    a = ap.parse_args()
    if not a.ko:
        skip('vgpu_stub.ko was not built: no kernel headers')
    if not shutil.which('qemu-system-x86_64'):
        skip('no qemu-system-x86_64: apt-get install qemu-system-x86')
    return a


def image(a, dynamic=False, add=()):
    """The image with a.program in its PATH; dynamic: with the shared libraries they need."""
    payload, add = a.program if dynamic else [], list(add)
    if not dynamic:
        add += [(p, '/opt/vgpu/bin/' + os.path.basename(p)) for p in a.program]
    try:
        return guest_image.build(os.path.join(a.build, 'guest'), a.agent, a.ko, payload, add)
    except guest_image.ImageError as e:
        skip(str(e))


def run_dir():
    """Short, for the sockets in it; removed by the caller."""
    return tempfile.mkdtemp(prefix='vgpu-vm-')


class Tap:
    """Runs named cases; the exit status says whether all of them passed."""

    def __init__(self):
        self.count = self.failed = 0

    def case(self, name, fn, *args):
        self.count += 1
        try:
            note = fn(*args)
        except Exception:  # each case reports for itself; the others still run
            self.failed += 1
            print(f'not ok {self.count} - {name}')
            for line in traceback.format_exc().splitlines():
                print('# ' + line)
        else:
            print(f'ok {self.count} - {name}' + (f' # {note}' if note else ''))
        sys.stdout.flush()

    def finish(self):
        print(f'1..{self.count}')
        return 1 if self.failed or not self.count else 0
