#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reads cuda_api.txt, writes one of the files made from it.

usage: gen_api.py cuda_api.txt KIND OUTPUT    KIND: ops.h ops.c ops_enc.h ops_dec.h ops_dec.c coverage.tsv ops_fields.h
"""
import re
import sys
import zlib

SIZES = {'u8': 1, 'u16': 2, 'u32': 4, 'u64': 8, 'i32': 4, 'i64': 8, 'f32': 4}
CTYPES = {'u8': 'vg_u8', 'u16': 'vg_u16', 'u32': 'vg_u32', 'u64': 'vg_u64', 'i32': 'vg_s32',
          'i64': 'long long', 'f32': 'float'}
HANDLES = ['ctx', 'module', 'func', 'stream', 'event', 'array', 'image', 'link', 'texref']
WORDS = {'ctx', 'follows', 'gated', 'unit', 'helper', 'query'}
INLINE_IN, INLINE_OUT = 40, 48


class Field:
    def __init__(self, name, kind, rules):
        self.name, self.kind, self.rules = name, kind, rules

    @property
    def handle(self):
        return self.kind in HANDLES

    @property
    def size(self):
        return 4 if self.handle else SIZES[self.kind]

    @property
    def ctype(self):
        return 'vg_u32' if self.handle else CTYPES[self.kind]


class Op:
    def __init__(self, number, name, ring, how, words):
        self.number, self.name, self.ring, self.how, self.words = number, name, ring, how, words
        self.ins, self.outs, self.mems, self.functions = [], [], [], []
        self.payload, self.reply = (0, 0), 0

    @property
    def fields(self):
        extra = [Field('reply_off', 'u32', {}), Field('reply_cap', 'u32', {})] if self.reply else []
        return sorted(self.ins + extra, key=lambda f: -f.size)

    @property
    def out_fields(self):
        return sorted(self.outs, key=lambda f: -f.size)

    def struct_size(self, fields):
        total = sum(f.size for f in fields)
        widest = max((f.size for f in fields), default=1)
        return (total + widest - 1) // widest * widest

    @property
    def in_size(self):
        return self.struct_size(self.fields)

    @property
    def out_size(self):
        return self.struct_size(self.outs)

    def places(self, kind, most):
        """Offsets of its handles of one kind, 0xffff where there is none."""
        at, found = 0, []
        for f in self.fields:
            if f.kind == kind:
                found.append(at)
            at += f.size
        return (found + [0xffff] * most)[:most]

    @property
    def spilled(self):
        return self.in_size > INLINE_IN


def fail(line, text):
    sys.exit(f'cuda_api.txt:{line}: {text}')


def parse(text):
    ops = []
    for n, raw in enumerate(text.splitlines(), 1):
        words = raw.split('#')[0].split()
        if not words:
            continue
        key, rest = words[0], words[1:]
        if key == 'op':
            if len(rest) < 4 or rest[2] not in ('work', 'control') or rest[3] not in ('sync', 'async'):
                fail(n, 'want: op NUMBER NAME work|control sync|async ...')
            unknown = set(rest[4:]) - WORDS
            if unknown:
                fail(n, f'unknown word {sorted(unknown)[0]}')
            ops.append(Op(int(rest[0]), rest[1], rest[2], rest[3], rest[4:]))
            continue
        op = ops[-1]
        if key == 'for':
            op.functions += rest
        elif key == 'in':
            rules = {}
            for r in rest[2:]:
                m = re.fullmatch(r'(min|max|mask)=(-?\w+)', r)
                if not m:
                    fail(n, f'unknown rule {r}')
                rules[m.group(1)] = int(m.group(2), 0)
            if rest[1] not in SIZES and rest[1] not in HANDLES:
                fail(n, f'unknown type {rest[1]}')
            op.ins.append(Field(rest[0], rest[1], rules))
        elif key == 'out':
            op.outs.append(Field(rest[0], rest[1], {}))
        elif key == 'payload':
            op.payload = (int(rest[0], 0), int(rest[1], 0))
        elif key == 'reply':
            op.reply = int(rest[0], 0)
        else:
            fail(n, f'unknown key {key}')
    check(ops)
    return ops


def check(ops):
    numbers = [o.number for o in ops]
    if len(set(numbers)) != len(numbers) or len({o.name for o in ops}) != len(ops):
        sys.exit('cuda_api.txt: a number or a name is used twice')
    for o in ops:
        if o.out_size > INLINE_OUT:
            sys.exit(f'cuda_api.txt: {o.name}: out fields exceed {INLINE_OUT} bytes')
        if o.reply and (any(f.size < 4 for f in o.fields) or sum(f.size for f in o.fields) != o.in_size):
            sys.exit(f'cuda_api.txt: {o.name}: reply_off and reply_cap must end the body')
        if o.ring == 'work' and (o.how == 'sync' or 'helper' in o.words or 'follows' in o.words):
            sys.exit(f'cuda_api.txt: {o.name}: the work ring is asynchronous and in order by itself')


HEAD = '/* SPDX-License-Identifier: Apache-2.0 */\n/* Made by gen_api.py from cuda_api.txt; not edited by hand. */\n'


def struct(prefix, name, fields):
    if not fields:
        return ''
    body = ''.join(f'\t{f.ctype} {f.name};\n' for f in fields)
    return f'struct vgpu_{prefix}_{name} {{\n{body}}};\n'


def ops_h(ops, text):
    top = max(o.number for o in ops) + 1
    out = [HEAD, '#ifndef VGPU_WIRE_OPS_H\n#define VGPU_WIRE_OPS_H\n#include "wire/entry.h"\n\n',
           f'#define VGPU_API_HASH 0x{zlib.crc32(text.encode()):08x}u\n\nenum vgpu_op {{\n']
    out += [f'\tVGPU_OP_{o.name.upper()} = {o.number},\n' for o in ops]
    out += [f'\tVGPU_OP_COUNT = {top}\n}};\n\n']
    for o in ops:
        out += [struct('in', o.name, o.fields), struct('out', o.name, o.out_fields)]
        if o.fields:
            out.append(f'_Static_assert(sizeof(struct vgpu_in_{o.name}) == {o.in_size}, "wire layout");\n')
        if o.outs:
            out.append(f'_Static_assert(sizeof(struct vgpu_out_{o.name}) == {o.out_size}, "wire layout");\n')
    out.append('''
#define VGPU_OP_WORK 0x1u
#define VGPU_OP_SYNC 0x2u
#define VGPU_OP_HELPER 0x4u
#define VGPU_OP_GATED 0x8u
#define VGPU_OP_UNIT 0x10u
#define VGPU_OP_FOLLOWS 0x20u
#define VGPU_OP_CTX 0x40u
#define VGPU_OP_QUERY 0x80u
#define VGPU_NOWHERE 0xffffu

struct vgpu_op_info {
	const char *name; /* NULL: no such opcode */
	vg_u32 flags;
	vg_u32 in_size, out_size;
	vg_u32 payload_min, payload_max; /* beyond a spilled body */
	vg_u32 reply_max;
	vg_u16 stream_at, event_at[2]; /* offsets of these handles in the body, or VGPU_NOWHERE */
};
/* By opcode. */
extern const struct vgpu_op_info vgpu_op_info[VGPU_OP_COUNT];
#endif
''')
    return ''.join(out)


def ops_c(ops, text):
    rows = []
    for o in ops:
        flags = (['VGPU_OP_WORK'] if o.ring == 'work' else []) + (['VGPU_OP_SYNC'] if o.how == 'sync' else [])
        flags += [f'VGPU_OP_{w.upper()}' for w in o.words]
        events = ', '.join(str(at) for at in o.places('event', 2))
        rows.append(f'\t[{o.number}] = {{ "{o.name}", {" | ".join(flags) or "0"}, {o.in_size}, {o.out_size}, '
                    f'{o.payload[0]}, {o.payload[1]}, {o.reply}, {o.places("stream", 1)[0]}, {{ {events} }} }},\n')
    return HEAD + '#include "wire/ops.h"\n\nconst struct vgpu_op_info vgpu_op_info[VGPU_OP_COUNT] = {\n' + ''.join(rows) + '};\n'


def ops_enc_h(ops, text):
    out = [HEAD, '#ifndef VGPU_GUEST_OPS_ENC_H\n#define VGPU_GUEST_OPS_ENC_H\n#include "guest/client.h"\n\n']
    for o in ops:
        if o.ring == 'work':
            continue  # client_post() takes these: the order of bounce and ring is the caller's
        args, give = ['struct vgpu_client *cl', 'uint32_t ctx'], []
        if 'follows' in o.words:
            args.append('uint64_t follows')
        if o.fields:
            args.append(f'const struct vgpu_in_{o.name} *in')
            give.append('.in = in, .in_size = sizeof(*in)')
        if o.outs:
            args.append(f'struct vgpu_out_{o.name} *out')
            give.append('.out = out, .out_size = sizeof(*out)')
        if o.payload[1]:
            args.append('const void *payload, uint32_t payload_len')
            give.append('.payload = payload, .payload_len = payload_len')
        if o.reply:
            args.append('void *reply, uint32_t reply_cap, uint32_t *reply_len')
            give.append('.reply = reply, .reply_cap = reply_cap, .reply_len = reply_len')
            give.append(f'.reply_at = offsetof(struct vgpu_in_{o.name}, reply_off)')
        if 'follows' in o.words:
            give.append('.flags = VGPU_E_FOLLOWS, .follows = follows')
        give = [f'.opcode = VGPU_OP_{o.name.upper()}, .ctx = ctx'] + give
        out.append(f'static inline int vgpu_call_{o.name}({", ".join(args)})\n{{\n'
                   f'\tstruct vgpu_request rq = {{ {", ".join(give)} }};\n\n\treturn client_call(cl, &rq);\n}}\n\n')
    return ''.join(out) + '#endif\n'


def handler(o):
    args = ['struct exec *x', 'struct call *c']
    if o.fields:
        args.append(f'const struct vgpu_in_{o.name} *in')
    if o.outs:
        args.append(f'struct vgpu_out_{o.name} *out')
    args += [f'struct obj *{f.name}' for f in o.ins if f.handle]
    return f'int op_{o.name}({", ".join(args)})'


def ops_dec_h(ops, text):
    out = [HEAD, '#ifndef VGPU_EXECUTOR_OPS_DEC_H\n#define VGPU_EXECUTOR_OPS_DEC_H\n#include "executor/call.h"\n\n',
           '/* By opcode: checks the copied body, resolves its handles, calls the handler. Returns a CUresult. */\n',
           'typedef int exec_decode(struct exec *x, struct call *c);\nextern exec_decode *const exec_decoders[VGPU_OP_COUNT];\n\n',
           '/* The handlers, written by hand in dispatch_*.c. */\n']
    return ''.join(out + [handler(o) + ';\n' for o in ops]) + '#endif\n'


def rules(f):
    r, out = f.rules, []
    if 'min' in r and not (r['min'] == 0 and f.kind.startswith('u')):
        out.append(f'in.{f.name} < {r["min"]}')
    if 'max' in r:
        out.append(f'in.{f.name} > {r["max"]}')
    if 'mask' in r:
        out.append(f'(in.{f.name} & ~{r["mask"]:#x}u)')
    return out


def ops_dec_c(ops, text):
    out = [HEAD, '#include <string.h>\n#include "wire/ops_dec.h"\n\n']
    for o in ops:
        give = ['x', 'c']
        out.append(f'static int dec_{o.name}(struct exec *x, struct call *c)\n{{\n')
        if o.fields:
            out.append(f'\tstruct vgpu_in_{o.name} in;\n')
            give.append('&in')
        if o.outs:
            out.append(f'\tstruct vgpu_out_{o.name} out;\n')
            give.append('&out')
        handles = [f for f in o.ins if f.handle]
        for f in handles:
            out.append(f'\tstruct obj *{f.name};\n')
            give.append(f.name)
        if o.outs:
            out.append('\tint rc;\n')
        out.append('\n')
        if o.fields:
            out.append('\tmemcpy(&in, c->body, sizeof(in));\n')
        tests = [t for f in o.ins for t in rules(f)]
        if tests:
            out.append(f'\tif ({" || ".join(tests)})\n\t\treturn CUDA_ERROR_INVALID_VALUE;\n')
        for f in handles:
            out.append(f'\t{f.name} = obj_get(&x->handles, OBJ_{f.kind.upper()}, in.{f.name}, c->ctx);\n'
                       f'\tif (!{f.name})\n\t\treturn CUDA_ERROR_INVALID_HANDLE;\n')
        call = f'op_{o.name}({", ".join(give)})'
        if o.outs:
            out.append(f'\tmemset(&out, 0, sizeof(out));\n\trc = {call};\n'
                       '\tmemcpy(c->out, &out, sizeof(out));\n\treturn rc;\n}\n\n')
        else:
            out.append(f'\treturn {call};\n}}\n\n')
    out.append('exec_decode *const exec_decoders[VGPU_OP_COUNT] = {\n')
    out += [f'\t[{o.number}] = dec_{o.name},\n' for o in ops]
    return ''.join(out) + '};\n'


def coverage(ops, text):
    rows = [f'{f}\t{o.name}\t{o.ring}\t{o.how}\n' for o in ops for f in o.functions]
    return '# public function, call on the wire, ring, completion\n' + ''.join(sorted(rows))


POINTERS = {'dptr', 'dst', 'src', 'base', 'va'}


def ops_fields_h(ops, text):
    """Every field with its place and meaning, for tests that make calls up. Not part of any program."""
    kinds = ['number'] + HANDLES + ['pointer', 'texture']
    out = [HEAD, '#ifndef VGPU_WIRE_OPS_FIELDS_H\n#define VGPU_WIRE_OPS_FIELDS_H\n#include "wire/ops.h"\n\n',
           'enum vgpu_field_kind { ' + ', '.join(f'VGPU_FIELD_{k.upper()}' for k in kinds) + ', VGPU_FIELD_KINDS };\n',
           '''
struct vgpu_field {
	vg_u16 op;
	vg_u8 out;  /* 1: of the answer */
	vg_u8 kind; /* enum vgpu_field_kind */
	vg_u8 at, size;
	unsigned long long min, max; /* of a number; a mask counts as max */
};
static const struct vgpu_field vgpu_fields[] = {
''']
    for o in ops:
        for is_out, fields in ((0, o.fields), (1, o.out_fields)):
            at = 0
            for f in fields:
                kind = (f.kind if f.handle else f.name if f.name in HANDLES and f.size == 4 else
                        'pointer' if f.name in POINTERS else 'texture' if f.name == 'texture' else 'number')
                most = f.rules.get('max', f.rules.get('mask', (1 << 8 * f.size) - 1))
                out.append(f'\t{{ {o.number}, {is_out}, VGPU_FIELD_{kind.upper()}, {at}, {f.size}, '
                           f'{f.rules.get("min", 0) & (1 << 64) - 1}ull, {most}ull }},\n')
                at += f.size
    return ''.join(out) + '};\n#endif\n'


KINDS = {'ops.h': ops_h, 'ops.c': ops_c, 'ops_enc.h': ops_enc_h, 'ops_dec.h': ops_dec_h, 'ops_dec.c': ops_dec_c,
         'coverage.tsv': coverage, 'ops_fields.h': ops_fields_h}


def main():
    if len(sys.argv) != 4 or sys.argv[2] not in KINDS:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding='utf-8') as f:
        text = f.read()
    with open(sys.argv[3], 'w', encoding='utf-8') as f:
        f.write(KINDS[sys.argv[2]](parse(text), text))


main()
