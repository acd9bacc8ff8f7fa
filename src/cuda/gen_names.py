#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Completes a driver library: every name of names.txt that its sources do not define.

A library (softcuda's libcuda.so.1, the guest's) defines the functions it implements, by exact
symbol, one definition starting in column 0 with "CUresult cuName(". This script reads those sources
and writes

  forwards.c  _ptsz/_ptds forms, made from the plain function: the stream 0 of the caller becomes
              CU_STREAM_PER_THREAD (the library must understand that handle); a synchronous _ptds
              copy is the Async function on that stream, then cuStreamSynchronize;
              and symbols that are the same function as another ("= same" in names.txt);
  stubs.c     for each name that is left: count it, return CUDA_ERROR_NOT_SUPPORTED
              (cuda/unsupported.h); and the cuGetProcAddress table (cuda/getproc.h);
  names.map   linker version script: those symbols are exported, nothing else.

A library that defines a _ptsz, _ptds or old symbol itself keeps its own. Use in meson:

  gen = custom_target('x_names', input: [cuda_names, cuda_api_h, sources, cuda_entry_src],
    output: ['x_forwards.c', 'x_stubs.c', 'x.map'],
    command: [py, cuda_gen_names, '@OUTPUT@', '@INPUT@'])
  shared_library('cuda', sources, cuda_entry_src, gen[0], gen[1], soversion: '1', version: ...,
    link_args: ['-Wl,--version-script=' + gen[2].full_path(), '-Wl,-Bsymbolic'], link_depends: gen[2])

cuda_entry_src defines cuGetProcAddress, cuGetExportTable, cuGetErrorName and cuGetErrorString. An input of names, one
"define cuName" per line, stands for sources made by another generator.
"""
import re
import sys

HEAD = "/* SPDX-License-Identifier: Apache-2.0 */\n/* Made by gen_names.py; do not edit. */\n"
SYNC_TO_ASYNC = {  # _ptds names whose Async form has another version suffix or name
    "cuMemcpy2DUnaligned_v2": "cuMemcpy2DAsync_v2",
    "cuMemcpy2D_v2": "cuMemcpy2DAsync_v2",
    "cuMemcpy3D_v2": "cuMemcpy3DAsync_v2",
    "cuMemcpy3DPeer": "cuMemcpy3DPeerAsync",
}


def read_names(path):
    rows = []
    for number, line in enumerate(open(path), 1):
        line = line.split("#")[0].split()
        if not line:
            continue
        if len(line) not in (2, 4) or not line[1].isdigit():
            sys.exit(f"{path}:{number}: expected 'symbol version [= same]'")
        rows.append((line[0], int(line[1]), line[3] if len(line) == 4 else None))
    return rows


def read_prototypes(path):
    """{symbol: [(type, name), ...]}"""
    protos = {}
    for line in open(path):
        m = re.match(r"CUresult (cu\w+)\((.*)\);$", line)
        if not m:
            continue
        params = []
        for p in m.group(2).split(", "):
            if p == "void":
                continue
            t, n = re.match(r"(.*?[ *])(\w+)$", p).groups()
            params.append((t.strip(), n))
        protos[m.group(1)] = params
    return protos


def read_definitions(paths):
    found = set()
    for path in paths:
        text = open(path).read()
        found.update(re.findall(r"^CUresult (cu\w+)\([^;{]*\)\s*\{", text, re.M))
        found.update(re.findall(r"^define (cu\w+)$", text, re.M))
    return found


def split(symbol):
    """('cuMemcpyHtoD', '_v2', '_ptds')"""
    return re.match(r"(\w+?)(_v\d)?(_ptds|_ptsz)?$", symbol).groups(default="")


def signature(params):
    return ", ".join(t + ("" if t.endswith("*") else " ") + n for t, n in params) or "void"


def per_thread(name):
    return f"{name} ? {name} : CU_STREAM_PER_THREAD"


def forward_ptsz(symbol, plain, params):
    """The plain function with stream 0 made the thread's own. None if it has no stream we can see."""
    if plain == "cuLaunchKernelEx":
        return (f"CUresult {symbol}({signature(params)})\n{{\n\tCUlaunchConfig own;\n\tif (!config)\n\t\treturn CUDA_ERROR_INVALID_VALUE;\n"
                f"\town = *config;\n\town.hStream = {per_thread('own.hStream')};\n\treturn {plain}(&own, f, kernelParams, extra);\n}}\n")
    if not any(t == "CUstream" for t, _ in params):
        return None
    args = ", ".join(per_thread(n) if t == "CUstream" else n for t, n in params)
    return f"CUresult {symbol}({signature(params)})\n{{\n\treturn {plain}({args});\n}}\n"


def forward_ptds(symbol, plain, protos, defined):
    base, version, _ = split(symbol)
    target = SYNC_TO_ASYNC.get(plain)
    if not target:
        target = next((c for c in (base + "Async" + version, base + "Async") if c in protos), None)
    if target not in defined or "cuStreamSynchronize" not in defined:
        return None
    args = ", ".join("CU_STREAM_PER_THREAD" if t == "CUstream" else n for t, n in protos[target])
    params = [p for p in protos[target] if p[0] != "CUstream"]
    wait = "" if base.startswith("cuMemset") else "\treturn r ? r : cuStreamSynchronize(CU_STREAM_PER_THREAD);\n"
    call = f"\treturn {target}({args});\n" if not wait else f"\tCUresult r = {target}({args});\n{wait}"
    return f"CUresult {symbol}({signature(params)})\n{{\n{call}}}\n"


def forward(symbol, same, protos, defined):
    base, version, stream = split(symbol)
    plain = base + version
    if same in defined and same in protos:
        return f"CUresult {symbol}({signature(protos[same])})\n{{\n\treturn {same}({', '.join(n for _, n in protos[same])});\n}}\n"
    if stream == "_ptds":
        return forward_ptds(symbol, plain, protos, defined)
    if stream == "_ptsz" and plain in defined and plain in protos:
        return forward_ptsz(symbol, plain, protos[plain])
    return None


def table(rows):
    """Sorted by base, legacy before per-thread, then version: what cuda_getproc() expects."""
    entries = []
    for symbol, version, _ in rows:
        base, _, stream = split(symbol)
        entries.append((base, bool(stream), version, symbol))
    return "".join(f'\t{{ "{b}", (void *)&{s}, {v}, {str(p).lower()} }},\n' for b, p, v, s in sorted(entries))


def main():
    out_forwards, out_stubs, out_map, names_path, api_path, *sources = sys.argv[1:]
    rows, protos, defined = read_names(names_path), read_prototypes(api_path), read_definitions(sources)
    unknown = defined - {r[0] for r in rows}
    if unknown:
        sys.exit(f"{names_path}: lacks {', '.join(sorted(unknown))}, which a source defines")
    forwards, stubs = [], []
    for symbol, _, same in rows:
        if symbol in defined:
            continue
        text = forward(symbol, same, protos, defined)
        forwards.append((symbol, text)) if text else stubs.append(symbol)
    protos_needed = "".join(f"{t.split(chr(10))[0]};\n" for s, t in forwards if s not in protos)
    with open(out_forwards, "w") as f:
        f.write(HEAD + "#define CUDA_EXACT_NAMES\n#include \"cuda/cuda.h\"\n\n" + protos_needed + "\n")
        f.write("\n".join(t for _, t in forwards))
    with open(out_stubs, "w") as f:
        f.write(HEAD + '#include "cuda/getproc.h"\n#include "cuda/unsupported.h"\n\n')
        f.write("/* Only addresses are taken: this file must not see the prototypes. */\n")
        f.writelines(f"extern int {r[0]}(void);\n" for r in rows)
        f.write("\nstruct vgpu_unsupported_name vgpu_unsupported_names[] = {\n")
        f.writelines(f'\t{{ .name = "{s}" }},\n' for s in stubs)
        f.write("\t{ .name = 0 },\n};\nconst unsigned vgpu_unsupported_count = %d;\n\n" % len(stubs))
        f.writelines(f"int {s}(void)\n{{\n\treturn vgpu_unsupported({i});\n}}\n" for i, s in enumerate(stubs))
        f.write("\nconst struct cuda_proc cuda_procs[] = {\n" + table(rows) + "};\n")
        f.write(f"const unsigned cuda_proc_count = {len(rows)};\n")
    with open(out_map, "w") as f:
        f.write("{\nglobal:\n" + "".join(f"\t{r[0]};\n" for r in rows) + "local:\n\t*;\n};\n")


main()
