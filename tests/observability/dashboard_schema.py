#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The dashboard against Grafana's own schema: type-checked as a literal of the types Grafana publishes, each panel by the
options and field options of its own kind, unknown properties refused; units, reducers, colour modes, transformations and
matchers looked up in Grafana's registries. What the schema has no type for (Prometheus' queries) is held to ours below.

No network: tools/grafana_types.sh fetches the types; without them, or without node, the test is skipped.
usage: dashboard_schema.py DIR     DIR: where tools/grafana_types.sh has put them
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(__file__).resolve().parents[2]
DASHBOARD = SOURCE / 'integrations/grafana/openvgpu.json'
KINDS = {'stat': 'Stat', 'timeseries': 'TimeSeries', 'heatmap': 'Heatmap', 'table': 'Table', 'state-timeline': 'StateTimeline'}

TYPES = '''
import type * as g from '@grafana/schema';
%(imports)s
// JSON has no enums: a text or number of the enum's values stands for it. Distributes over unions, keeps everything else.
type Plain<T> = T extends string ? `${T}` : T extends number ? (`${T}` extends `${infer N extends number}` ? N : T)
    : T extends object ? {[K in keyof T]: Plain<T[K]>} : T;
// What the schema has a default for may be left out, at any depth; nothing may be added.
type Some<T> = T extends Array<infer U> ? Array<Some<U>> : T extends object ? {[K in keyof T]?: Some<T[K]>} : T;
interface Query extends g.DataQuery {expr: string; legendFormat: string; editorMode: 'code'; range: boolean; instant?: boolean;
    format: 'time_series' | 'table' | 'heatmap'}
type Field<F> = Omit<g.FieldConfigSource, 'defaults'> & {defaults: Omit<g.FieldConfig, 'custom'> & {custom?: Some<F>}};
interface Of<K extends string, O, F> extends Omit<g.Panel, 'type' | 'options' | 'fieldConfig' | 'targets'> {
    type: K; options: Some<O>; fieldConfig: Field<F>; targets: Query[]}
type Any = %(union)s | (Omit<g.RowPanel, 'type'> & {type: 'row'});
interface Board extends Omit<g.Dashboard, 'panels'> {panels: Any[]}
const board: Plain<Board> =
'''

REGISTRIES = '''
globalThis.navigator ??= {language: 'en', languages: ['en']};
const d = require('@grafana/data');
const ids = r => r.list().map(x => x.id);
process.stdout.write(JSON.stringify({
  unit: d.getValueFormats().flatMap(c => c.submenu.map(u => u.value)), calcs: ids(d.fieldReducers), mode: ids(d.fieldColorModeRegistry),
  transformation: Object.values(d.standardTransformers).map(t => t.id), matcher: Object.values(d.FieldMatcherID)}));
process.exit(0);
'''


def literal(board):
    imports = '\n'.join(f"import type * as {name} from '@grafana/schema/dist/esm/raw/composable/{name.lower()}/panelcfg/x/{name}PanelCfg_types.gen';"
                        for name in KINDS.values())
    # A stat's own field options are none.
    union = ' | '.join(f"Of<'{kind}', {name}.Options, {name + '.FieldConfig' if kind != 'stat' else 'Record<never, never>'}>" for kind, name in KINDS.items())
    return TYPES % {'imports': imports, 'union': union} + json.dumps(board, indent=1) + ';\nvoid board;\n'


def complaints(where, boards):
    """{name: what the compiler says of it}; in one run, since reading the types is what takes its time."""
    with tempfile.TemporaryDirectory(prefix='dashboard.') as tmp:
        path = pathlib.Path(tmp)
        (path / 'node_modules').symlink_to(where / 'node_modules')
        for i, board in enumerate(boards.values()):
            (path / f'board{i}.ts').write_text(literal(board))
        (path / 'tsconfig.json').write_text(json.dumps({'files': [f'board{i}.ts' for i in range(len(boards))], 'compilerOptions': {
            'noEmit': True, 'strict': True, 'skipLibCheck': True, 'preserveSymlinks': True, 'types': [], 'target': 'es2022',
            'module': 'esnext', 'moduleResolution': 'bundler'}}))
        r = subprocess.run(['node', str(where / 'node_modules/typescript/lib/tsc.js'), '-p', '.'], cwd=path, capture_output=True, text=True,
                           timeout=300)
        assert not r.returncode or 'board' in r.stdout, r
        return {name: [x for x in r.stdout.splitlines() if x.startswith(f'board{i}.ts(')] for i, name in enumerate(boards)}


def spoilt(spoil):
    board = json.loads(DASHBOARD.read_text())
    board['panels'] = [first(board, k) for k in ('row', *KINDS)]  # one of each will do
    spoil(board)
    return board


def first(board, kind):
    return next(p for p in board['panels'] if p['type'] == kind)


def breakages():
    """Ways to spoil it, each of which the schema must see: a check that sees nothing is none."""
    return {
        'a panel of no kind': lambda b: first(b, 'stat').update(type='graph'),
        "another kind's option": lambda b: first(b, 'stat')['options'].update(legend={'showLegend': True}),
        'an option of old': lambda b: first(b, 'heatmap')['options']['tooltip'].update(show=True),
        'a value that is none': lambda b: first(b, 'stat')['options'].update(colorMode='backgruond'),
        'a field option that is none': lambda b: first(b, 'timeseries')['fieldConfig']['defaults']['custom'].update(fillOpactiy=3),
        'a text for a number': lambda b: first(b, 'timeseries')['fieldConfig']['defaults'].update(min='0'),
        'a place without height': lambda b: first(b, 'table')['gridPos'].pop('h'),
        'a variable that never refreshes right': lambda b: b['templating']['list'][1].update(refresh=7),
        'a query without an expression': lambda b: first(b, 'table')['targets'][0].pop('expr'),
        'something beside the panels': lambda b: b.update(panles=[]),
    }


def test_types(where):
    board = json.loads(DASHBOARD.read_text())
    assert {p['type'] for p in board['panels']} == set(KINDS) | {'row'}
    found = complaints(where, {'whole': board, 'one of each': spoilt(lambda b: None), **{k: spoilt(v) for k, v in breakages().items()}})
    for what in ('whole', 'one of each'):
        assert not found[what], '\n'.join(found.pop(what)[:30])
        found.pop(what)
    for what, said in found.items():
        assert said, f'{what} is not seen'


def values(o, key):
    if isinstance(o, dict):
        for k, v in o.items():
            if k == key:
                yield v
            yield from values(v, key)
    elif isinstance(o, list):
        for v in o:
            yield from values(v, key)


def test_registries(where):
    r = subprocess.run(['node', '-e', REGISTRIES], cwd=where, capture_output=True, text=True, timeout=120)
    assert r.returncode == 0, r.stderr
    known, panels = json.loads(r.stdout), json.loads(DASHBOARD.read_text())['panels']
    used = {'unit': list(values(panels, 'unit')), 'calcs': [c for v in values(panels, 'calcs') for c in v],
            'mode': [c['mode'] for c in values(panels, 'color') if isinstance(c, dict) and c['mode'] != 'scheme'],
            'transformation': [t['id'] for p in panels for t in p.get('transformations', [])], 'matcher': [m['id'] for m in values(panels, 'matcher')]}
    for what, ids in used.items():
        assert ids and set(ids) <= set(known[what]), (what, set(ids) - set(known[what]))
    for p in panels:
        assert p['type'] in ('row', 'table') or list(values(p, 'unit')) or p['type'] == 'state-timeline', f'{p["title"]}: no unit'
    assert 'percentunit' in known['unit'] and 'procent' not in known['unit']


def main():
    where = pathlib.Path(os.environ.get('VGPU_GRAFANA_TYPES') or sys.argv[1]).resolve()
    if not (where / 'packages').exists():
        print(f'Grafana\'s types are not in {where}: tools/grafana_types.sh {where} fetches them')
        return 77
    if not shutil.which('node'):
        print('node is not installed (Debian: nodejs)')
        return 77
    print(re.sub(r'\s+', ' ', (where / 'packages').read_text()))
    for test in (test_types, test_registries):
        test(where)
        print('ok', test.__name__, flush=True)
    return 0


if __name__ == '__main__':
    sys.exit(main())
