# SPDX-License-Identifier: Apache-2.0
"""Phase 2: Debian's unmodified ffmpeg in every VM, its CUDA filters on the shared device."""
import os
import subprocess
import time

import stage

W, H, FRAMES = 320, 180, 25
OW, OH = 96, 54
GUEST_CLIPS = '/opt/vgpu/clips'


def raw(folder, name, w, h):
    return ['-f', 'rawvideo', '-pix_fmt', 'yuv420p', '-s', f'{w}x{h}', '-r', '25', '-i', f'{folder}/{name}']


def ffmpeg(inputs, graph, cuda=True):
    head = ['ffmpeg', '-v', 'error', '-nostdin']
    if cuda:
        head += ['-init_hw_device', 'cuda=c', '-filter_hw_device', 'c']
    return head + inputs + ['-filter_complex', graph, '-f', 'framemd5', '-']


def chain(folder):
    return ffmpeg(raw(folder, 'main.yuv', W, H) + raw(folder, 'over.yuv', OW, OH),
                  '[0]hwupload_cuda,scale_cuda=w=256:h=144[m];[1]hwupload_cuda[o];'
                  '[m][o]overlay_cuda=x=20:y=10,hwdownload,format=yuv420p')


def there_and_back(folder):
    return ffmpeg(raw(folder, 'main.yuv', W, H), 'hwupload_cuda,hwdownload,format=yuv420p')


def untouched(folder):
    return ffmpeg(raw(folder, 'main.yuv', W, H), 'null', cuda=False)


def make_clips(folder):
    os.makedirs(folder, exist_ok=True)
    for name, source, w, h in (('main.yuv', 'testsrc2', W, H), ('over.yuv', 'smptebars', OW, OH)):
        subprocess.run(['ffmpeg', '-v', 'error', '-nostdin', '-y', '-f', 'lavfi', '-i', f'{source}=s={w}x{h}:r=25',
                        '-frames:v', str(FRAMES), '-pix_fmt', 'yuv420p', '-f', 'rawvideo',
                        os.path.join(folder, name)], check=True)


def sums(text):
    """The checksum of every frame: the last field of framemd5's lines."""
    return [line.split(',')[-1].strip() for line in text.splitlines() if line and not line.startswith('#')]


def on_host(command):
    r = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if r.returncode:
        raise stage.StageError(f'{" ".join(command)}: exit status {r.returncode}\n{r.stderr[-2000:]}')
    return sums(r.stdout)


def quoted(command):
    return ' '.join("'" + a + "'" for a in command)


def in_guests(vms, command):
    """The same command in all VMs at once; (checksums, seconds) of each."""
    begin = time.monotonic()
    jobs = [vm.spawn(quoted(command)) for vm in vms]
    results = []
    for vm, job in zip(vms, jobs):
        if job.wait(400):
            raise stage.StageError(f'{vm.name}: ffmpeg ended with {job.status}:\n{job.text[-3000:]}')
        results.append((sums(job.text), time.monotonic() - begin))
    return results


def run(st, vms, clips, mark, say):
    plain = on_host(untouched(clips))
    want = on_host(st.direct(*chain(clips)))
    say(f'on the host, directly: {len(want)} frames filtered')
    mark('ffmpeg')
    filtered = in_guests(vms, chain(GUEST_CLIPS))
    say('scale_cuda + overlay_cuda done in all three VMs')
    back = in_guests(vms, there_and_back(GUEST_CLIPS))
    mark('')
    rows = []
    for vm, (got, seconds), (same, _) in zip(vms, filtered, back):
        rows.append(dict(vm=vm.name, frames=len(got), seconds=seconds,
                         identical=got == want and len(want) == FRAMES,
                         up_down=same == plain and len(plain) == FRAMES))
        rows[-1]['ok'] = rows[-1]['identical'] and rows[-1]['up_down']
    return rows
