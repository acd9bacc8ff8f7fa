#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Debian's own ffmpeg, unmodified, on our device: its CUDA filters directly on softcuda and remoted.

usage: ffmpeg_filters.py --ref REF --vgpu-run PROGRAM [--modes direct,unix] [--libdir DIR] CASE|all|--list

Each case generates frames, filters them in every mode, and asks that
  * the modes give the same bytes, and
  * they equal the reference (tests/conformance/ref*.c), exactly unless the case states a bound.
--libdir DIR runs "direct" by LD_LIBRARY_PATH instead of through vgpu-run.
Exit status 0 passed, 1 failed, 77 nothing to test (the reason is the last line).
"""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

TIMEOUT = 240  # seconds for one ffmpeg; a hang is a failure, not a wait
W, H, N = 176, 144, 4
SKIP = 77


class Failed(Exception):
    pass


class Bench:
    """Where things are, and how a command is started in a mode."""

    def __init__(self, args, folder):
        self.ref, self.vgpu_run, self.libdir = args.ref, args.vgpu_run, args.libdir
        self.modes = args.modes.split(',')
        self.folder = pathlib.Path(folder)

    def start(self, mode, cmd):
        env = dict(os.environ)
        if mode == 'direct' and self.libdir:
            env['LD_LIBRARY_PATH'] = self.libdir
            return cmd, env
        if not self.vgpu_run:
            raise Failed(f'mode {mode} needs --vgpu-run')
        return [self.vgpu_run] + (['--direct'] if mode == 'direct' else []) + ['--'] + cmd, env

    def run(self, cmd, env=None, stdin=None):
        try:
            r = subprocess.run(cmd, env=env, stdin=stdin or subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            raise Failed(f'no end after {TIMEOUT} s: {" ".join(map(str, cmd))}')
        if r.returncode:
            raise Failed(f'exit status {r.returncode}: {" ".join(map(str, cmd))}\n{r.stderr.decode(errors="replace")[-2000:]}')
        return r.stdout

    def clip(self, name, source, fmt, size=(W, H), frames=N):
        """Raw frames from one of ffmpeg's own generators, made on the CPU."""
        path = self.folder / f'{name}.raw'
        self.run(['ffmpeg', '-v', 'error', '-f', 'lavfi', '-i', f'{source}=s={size[0]}x{size[1]}:r=5', '-frames:v', str(frames),
                  '-pix_fmt', fmt, '-f', 'rawvideo', '-y', str(path)])
        return path

    def filtered(self, inputs, graph, fmt, keep_device=False):
        """The frames of every mode; they must be the same. inputs: [(path, format, (w, h))].

        keep_device: a second graph that outlives the first. ffmpeg 5.1 can drop the device before the graphs at
        exit, and thumbnail_cuda's clean-up then reads it."""
        outputs = {}
        for mode in self.modes:
            out = self.folder / f'out-{mode}.raw'
            cmd = ['ffmpeg', '-v', 'error', '-nostdin', '-init_hw_device', 'cuda=c', '-filter_hw_device', 'c']
            for path, f, (w, h) in inputs:
                cmd += ['-f', 'rawvideo', '-pix_fmt', f, '-s', f'{w}x{h}', '-r', '5', '-i', str(path)]
            cmd += ['-filter_complex', graph + '[out]']
            if keep_device:
                cmd += ['-filter_complex', 'color=s=64x64:r=5:d=0.2,format=yuv420p,hwupload,hwdownload,format=yuv420p[keep]']
            cmd += ['-map', '[out]', '-fps_mode', 'passthrough', '-pix_fmt', fmt, '-f', 'rawvideo', '-y', str(out)]
            if keep_device:
                cmd += ['-map', '[keep]', '-f', 'null', '-']
            full, env = self.start(mode, cmd)
            self.run(full, env)
            outputs[mode] = out.read_bytes()
            if not outputs[mode]:
                raise Failed(f'{mode}: no frames came out')
        first = self.modes[0]
        for mode in self.modes[1:]:
            equal(outputs[mode], outputs[first], 0, f'{mode} against {first}')
        return outputs[first]

    def reference(self, args, source):
        with open(source, 'rb') as f:
            return self.run([self.ref] + [str(a) for a in args], stdin=f)


def samples(data, width):
    return memoryview(data).cast('H') if width == 2 else memoryview(data)


def equal(got, want, bound, what, width=1):
    """Samples of `width` bytes equal within bound (modulo their range: the filters keep low bytes)."""
    if len(got) != len(want):
        raise Failed(f'{what}: {len(got)} bytes, not {len(want)}')
    if got == want:
        print(f'  {what}: identical, {len(got)} bytes')
        return
    full = 256 ** width
    off = [(i, a, b) for i, (a, b) in enumerate(zip(samples(got, width), samples(want, width))) if a != b]
    worst = max(min((a - b) % full, (b - a) % full) for _, a, b in off)
    i, a, b = off[0]
    text = f'{what}: {len(off)} of {len(got) // width} samples differ, by {worst} at most; the first at {i}: {a}, not {b}'
    if worst > bound:
        raise Failed(text)
    print(f'  {text} (bound {bound})')


def up_and_down(b):
    for fmt in ('yuv420p', 'nv12', 'yuv444p', 'p010le', 'bgr0'):
        src = b.clip('in-' + fmt, 'testsrc2', fmt)
        out = b.filtered([(src, fmt, (W, H))], f'hwupload_cuda,hwdownload,format={fmt}', fmt)
        equal(out, src.read_bytes(), 0, f'{fmt} up and down against the input')


def scale(b, algorithm, pairs, sizes, bound=0):
    for fin, fout in pairs:
        for w, h in sizes:
            src = b.clip('in', 'testsrc2', fin, frames=2)
            # scale_cuda offers its source's format unless told; naming the same format is harmless.
            out = b.filtered([(src, fin, (W, H))],
                             f'hwupload_cuda,scale_cuda=w={w}:h={h}:interp_algo={algorithm}:format={fout}:passthrough=0,hwdownload,format={fout}', fout)
            wide = 2 if '16' in fout or 'p010' in fout else 1
            want = b.reference(['scale', algorithm, fin, fout, W, H, w, h], src)
            equal(out, want, bound * (257 if wide == 2 and '10' not in fin and '16' not in fin else 1),
                  f'{algorithm} {fin} to {fout}, {w}x{h}, against the reference', wide)


# No odd height: ffmpeg's own download drops the last chroma line of one.
SMALLER, LARGER, ODD = (100, 70), (320, 200), (175, 142)


def scale_nearest(b):
    same = [(f, f) for f in ('yuv420p', 'nv12', 'yuv444p', 'p010le', 'yuv444p16le', 'bgr0')]
    other = [('yuv420p', 'nv12'), ('nv12', 'yuv444p'), ('p010le', 'yuv420p'), ('yuv420p', 'p010le'), ('yuv444p', 'p016le'),
             ('p010le', 'yuv444p16le'), ('rgb0', 'bgr0')]
    scale(b, 'nearest', same + other, [SMALLER])
    scale(b, 'nearest', [('yuv420p', 'yuv420p')], [LARGER, ODD])


def scale_bilinear(b):
    scale(b, 'bilinear', [('yuv420p', 'yuv420p'), ('nv12', 'yuv444p'), ('p010le', 'p010le')], [SMALLER, LARGER])


def scale_bicubic(b):
    scale(b, 'bicubic', [('yuv420p', 'yuv420p'), ('nv12', 'nv12'), ('p010le', 'p010le'), ('yuv444p', 'yuv420p')], [SMALLER, LARGER])


def scale_lanczos(b):
    # sin.approx.f32 in the weights: 2^-20.9 absolute, so an 8-bit result may round the other way.
    scale(b, 'lanczos', [('yuv420p', 'yuv420p'), ('nv12', 'nv12')], [SMALLER, LARGER], bound=1)


def overlay(b):
    # Inside the picture: past its lower edge overlay_cuda itself writes into the next plane.
    main = b.clip('main', 'testsrc2', 'yuv420p')
    for fmt, w, h, x, y in (('yuv420p', 64, 48, 20, 30), ('yuv420p', 100, 80, 76, 64), ('yuva420p', 80, 60, 40, 50)):
        over = b.clip('over', 'rgbtestsrc' if fmt == 'yuv420p' else 'mandelbrot', 'yuv420p', (w, h))
        if fmt == 'yuva420p':
            over = add_alpha(b, over, w, h)
        out = b.filtered([(main, 'yuv420p', (W, H)), (over, fmt, (w, h))],
                         f'[0]hwupload_cuda[m];[1]format={fmt},hwupload_cuda[o];[m][o]overlay_cuda=x={x}:y={y},hwdownload,format=yuv420p', 'yuv420p')
        want = b.reference(['overlay', W, H, fmt, over, w, h, x, y], main)
        equal(out, want, 0, f'{fmt} {w}x{h} at {x},{y} against the reference')


def add_alpha(b, path, w, h):
    """A ramp of every opacity behind each frame."""
    size, data, out = w * h * 3 // 2, path.read_bytes(), b''
    ramp = bytes((x * 255 // (w - 1) + y * 3) % 256 for y in range(h) for x in range(w))
    for at in range(0, len(data), size):
        out += data[at:at + size] + ramp
    target = b.folder / 'alpha.raw'
    target.write_bytes(out)
    return target


def chromakey(b):
    src = b.clip('in', 'testsrc2', 'yuv420p')
    # Linear filtering halfway between texels: a mean of four, truncated; the mean's last bit may tip it.
    for u, v, similarity, blend in ((90, 200, 0.15, 0.3), (128, 128, 0.05, 0.5)):
        out = b.filtered([(src, 'yuv420p', (W, H))],
                         f'hwupload_cuda,chromakey_cuda=color=0x80{u:02x}{v:02x}:yuv=1:similarity={similarity}:blend={blend},'
                         'hwdownload,format=yuva420p', 'yuva420p')
        want = b.reference(['chromakey', W, H, u, v, similarity, blend], src)
        equal(out, want, 1, f'key {u},{v} against the reference')
        alpha = want[W * H * 3 // 2:W * H * 5 // 2]
        if len(set(alpha)) < 4:
            raise Failed('the clip exercises no blending: the test would show nothing')


def yadif(b):
    src = b.clip('in', 'testsrc2', 'yuv420p', frames=5)
    for mode, name in ((0, 'frame'), (1, 'field')):
        for parity, tff in (('tff', 1), ('bff', 0)):
            out = b.filtered([(src, 'yuv420p', (W, H))],
                             f'hwupload_cuda,yadif_cuda=mode={mode}:parity={parity}:deint=all,hwdownload,format=yuv420p', 'yuv420p')
            equal(out, b.reference(['yadif', W, H, name, tff], src), 0, f'send_{name} {parity} against the reference')


def thumbnail(b):
    # A mandelbrot zoom with a picture of another kind inserted: neither first, last nor the odd one is nearest to the mean.
    src = b.clip('in', 'mandelbrot', 'yuv420p', frames=10)
    odd = b.clip('odd', 'testsrc2', 'yuv420p', frames=2)
    data, size = src.read_bytes(), W * H * 3 // 2
    src.write_bytes(data[:3 * size] + odd.read_bytes() + data[3 * size:])
    for n in (4, 6):
        out = b.filtered([(src, 'yuv420p', (W, H))], f'hwupload,thumbnail_cuda=n={n},hwdownload,format=yuv420p', 'yuv420p',
                         keep_device=True)
        equal(out, b.reference(['thumbnail', W, H, n], src), 0, f'of {n} against the reference')


def chain(b):
    """The demo's chain, by its parts' references."""
    main, over = b.clip('main', 'testsrc2', 'yuv420p'), b.clip('over', 'mandelbrot', 'yuv420p', (48, 32))
    out = b.filtered([(main, 'yuv420p', (W, H)), (over, 'yuv420p', (48, 32))],
                     '[0]hwupload_cuda,scale_cuda=w=120:h=96[m];[1]hwupload_cuda[o];[m][o]overlay_cuda=x=10:y=20,hwdownload,format=yuv420p', 'yuv420p')
    scaled = b.folder / 'scaled.raw'
    scaled.write_bytes(b.reference(['scale', 'bicubic', 'yuv420p', 'yuv420p', W, H, 120, 96], main))
    equal(out, b.reference(['overlay', 120, 96, 'yuv420p', over, 48, 32, 10, 20], scaled), 0, 'scale and overlay against the references')


CASES = {f.__name__: f for f in (up_and_down, scale_nearest, scale_bilinear, scale_bicubic, scale_lanczos, overlay, chromakey, yadif,
                                 thumbnail, chain)}


def why_not():
    if not shutil.which('ffmpeg'):
        return 'ffmpeg is not installed (apt-get install ffmpeg)'
    listed = subprocess.run(['ffmpeg', '-hide_banner', '-filters'], capture_output=True, text=True).stdout
    missing = [f for f in ('scale_cuda', 'overlay_cuda', 'chromakey_cuda', 'thumbnail_cuda', 'yadif_cuda') if f not in listed]
    return f'this ffmpeg is built without {", ".join(missing)}' if missing else None


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--ref', help='the reference program')
    p.add_argument('--vgpu-run', help='vgpu-run')
    p.add_argument('--libdir', help='folder of the libcuda.so.1 that "direct" loads')
    p.add_argument('--modes', default='direct,unix', help='comma-separated: direct, unix')
    p.add_argument('--list', action='store_true')
    p.add_argument('case', nargs='?', default='all', choices=list(CASES) + ['all'])
    args = p.parse_args()
    if args.list:
        print('\n'.join(CASES))
        return 0
    reason = why_not()
    if reason:
        print(reason)
        return SKIP
    failed = 0
    for name in CASES if args.case == 'all' else [args.case]:
        print(name, flush=True)
        with tempfile.TemporaryDirectory(prefix='vgpu-ffmpeg-') as folder:
            try:
                CASES[name](Bench(args, folder))
            except Failed as e:
                print(f'FAILED {name}: {e}', flush=True)
                failed += 1
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
