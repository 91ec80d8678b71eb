#!/usr/bin/env python3
"""Read this checkout and list what falls short of the project's rules, one line each. Standard library only.

usage: check.py [CHECKOUT]               all the rules below
       check.py --commands [CHECKOUT]    print the README's two commands, one a line
       check.py --demo FOLDER            what `miniai demo` left in FOLDER is complete, and opens (needs the package)
"""
import ast, json, re, sys
from pathlib import Path

ROOMS = 'core plot foundations data training models vision metrics diffusion audio text2image cli'.split()
COMMANDS = 'miniai demo', 'nbdev_test'
INSTALL = 'pip install -e ".[dev]" && '
REPORT = 'data n_train n_samples fid floor images_per_second seconds seed device scale'.split()
NB_BYTES, MODULE_LINES, FUNCTION_LINES = 1_500_000, 330, 45
WORKSHOP = {'miniai.data.datasets'}    # where pictures come from: a tool, as a plot is, also before 15 has shown how

PATHS = re.compile(r'(?<![\w.])(/(work|tmp|root|home|farm|opt|Users)/[\w.]+|[A-Z]:\\+Users\\+\w+)')
SMOKE = re.compile(r'scale[^\n]{0,12}smoke')
IN_EXPORTS = {r'\.cuda\(': 'calls .cuda(): take a device', r'weights_only\s*=\s*False': 'has weights_only=False',
    r'\bpickle\.(loads?|dumps?)\b': 'uses pickle', r'allow_pickle\s*=\s*True': 'has allow_pickle=True',
    r'#\s*(TODO|FIXME|XXX)': 'has a TODO', r'CUDA_VISIBLE_DEVICES': 'names CUDA_VISIBLE_DEVICES',
    r'^\s*from\s+\S+\s+import\s+\*': 'has a star import'}

# --- reading -----------------------------------------------------------------------------------------------------

def modules(root):
    "Each module of the package by its dotted name, with its path"
    named = {'.'.join(p.relative_to(root).with_suffix('').parts): p for p in sorted((root/'miniai').rglob('*.py'))}
    return {k.removesuffix('.__init__'): p for k, p in named.items() if p.name != '_modidx.py'}

def notebooks(root):
    "The notebooks that are part of the course, in order"
    paths = sorted((root/'nbs').rglob('*.ipynb'))
    return [p for p in paths if not any(o[0] in '_.' for o in p.relative_to(root).parts)]

def text(cell): return ''.join(cell['source'])
def directive(cell, name): return re.search(rf'^#\|\s*{name}[: ]*(.*)$', text(cell), re.M)
def python(cell): return '' if text(cell).startswith('%%') else re.sub(r'^\s*[%!].*$', '', text(cell), flags=re.M)

def outputs(cell):
    "The text of everything that `cell` shows"
    for o in cell.get('outputs', []):
        if o['output_type'] == 'stream': yield ''.join(o['text'])
        for kind, value in o.get('data', {}).items():
            if kind.startswith('text/'): yield ''.join(value)

def absolute(node, package):
    "The module that `node`, a `from ... import` inside `package`, names"
    parts = package.split('.')
    return '.'.join(filter(None, [*(parts[:len(parts)-node.level+1] if node.level else []), node.module]))

def imported(tree, package, known):
    "Every module of `known` that `tree`, code inside `package`, imports anywhere, functions included"
    for n in ast.walk(tree):
        if isinstance(n, ast.Import): names = [[a.name] for a in n.names]
        elif isinstance(n, ast.ImportFrom):
            base = absolute(n, package)
            names = [[f'{base}.{a.name}', base] for a in n.names]    # the name may be a module itself
        else: continue
        for options in names:
            if options[-1].split('.')[0] == 'miniai': yield next((o for o in options if o in known), options[-1])

def body(source, package):
    "What `source` does, without comments, docstrings of modules and `__all__`; relative imports made absolute"
    for n in ast.parse(source).body:
        for o in ast.walk(n):
            if isinstance(o, ast.ImportFrom): o.module, o.level = absolute(o, package), 0
        if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant): continue
        if isinstance(n, ast.Assign) and getattr(n.targets[0], 'id', '') == '__all__': continue
        yield ast.dump(n)

# --- rules: each yields lines `where: what` ----------------------------------------------------------------------

def package_rules(root):
    "Rooms import only from rooms above them, nothing imports in a circle, and modules and functions are short"
    mods, graph = modules(root), {}
    for name, path in mods.items():
        where, lines = path.relative_to(root).as_posix(), path.read_text(encoding='utf-8').splitlines()
        try: tree = ast.parse('\n'.join(lines))
        except SyntaxError as e: yield f'{where}: {e}'; continue
        if len(lines) > MODULE_LINES: yield f'{where}: {len(lines)} lines, over {MODULE_LINES}'
        for n in ast.walk(tree):
            if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef)) and n.end_lineno-n.lineno >= FUNCTION_LINES:
                yield f'{where}: {n.name} has {n.end_lineno-n.lineno+1} lines, over {FUNCTION_LINES}'
        package = name if path.name == '__init__.py' else name.rpartition('.')[0]
        graph[name] = sorted(set(imported(tree, package, mods))-{name})
        if name == 'miniai': continue
        room = name.split('.')[1]
        if room not in ROOMS: yield f'{where}: {room} is no room of the package: {" ".join(ROOMS)}'; continue
        for other in graph[name]:
            if other == 'miniai': continue
            if other not in mods: yield f'{where}: imports {other}, which is no module here'
            elif (up := other.split('.')[1]) in ROOMS and ROOMS.index(up) > ROOMS.index(room):
                yield f'{where}: {room} imports {other}, from a room below it'
    for loop in circles(graph): yield f'miniai: imports in a circle: {" -> ".join(loop)}'

def circles(graph):
    "Circles among the edges of `graph`, one for each edge that closes one"
    done, path = set(), []
    def visit(name):
        if name in path: yield path[path.index(name):]+[name]; return
        if name in done: return
        path.append(name)
        for other in graph.get(name, []): yield from visit(other)
        done.add(path.pop())
    for name in graph: yield from visit(name)

def notebook_rules(root):
    "Each notebook is complete, in order, and the source of its module"
    mods, numbers, exporters = modules(root), {}, {}
    for path in notebooks(root):
        name, nb, size = path.name, json.loads(path.read_text(encoding='utf-8')), path.stat().st_size
        if size > NB_BYTES: yield f'{name}: {size/1e6:.1f} MB, over {NB_BYTES/1e6} MB'
        if not nb['cells'] or not text(nb['cells'][0]).startswith(('# ', '---')):
            yield f'{name}: does not open with a title'
        if name.startswith('index'): continue
        number = re.match(r'(\d\d)_[a-z0-9_]+\.ipynb$', name)
        if not number: yield f'{name}: is not called NN_topic.ipynb'
        elif numbers.setdefault(number[1], name) != name: yield f'{name}: has the number of {numbers[number[1]]}'
        yield from shape_rules(name, nb)
        for i, cell in enumerate(nb['cells']):
            for what in cell_rules(cell): yield f'{name}: cell {i}: {what}'
        yield from module_rules(name, nb, root, mods, exporters)
    for mod, path in mods.items():
        if mod not in exporters and path.name != '__init__.py':
            yield f'{path.relative_to(root).as_posix()}: no notebook exports it'

def shape_rules(name, nb):
    "Enough prose, outputs, exercises"
    code = [c for c in nb['cells'] if c['cell_type'] == 'code' and text(c).strip()]
    prose = [c for c in nb['cells'] if c['cell_type'] == 'markdown' and text(c).strip()]
    shown = [c for c in code if not directive(c, 'default_exp') and not directive(c, 'hide')]
    if len(prose) < .5*len(shown): yield f'{name}: {len(prose)} prose cells for {len(shown)} code cells'
    if not any(c.get('outputs') for c in code): yield f'{name}: has no outputs: commit it executed'
    if not any('try it' in text(c).lower() for c in prose): yield f'{name}: has no "Try it"'

def cell_rules(cell):
    "One cell, and what it shows"
    if m := PATHS.search(text(cell)): yield f'a path of this machine: {m[0]}'
    if cell['cell_type'] != 'code': return
    failed = any(o['output_type'] == 'error' for o in cell.get('outputs', []))
    if failed and 'raises-exception' not in cell['metadata'].get('tags', []):
        yield 'an error is among the outputs'
    if any(SMOKE.search(o) for o in outputs(cell)): yield 'its outputs are from the smoke scale'
    if m := next(filter(None, map(PATHS.search, outputs(cell))), None):
        yield f'shows a path of this machine: {m[0]}'
    try: tree = ast.parse(python(cell))
    except SyntaxError as e: yield f'{e}'; return
    called = [getattr(getattr(n.value, 'func', None), 'id', '') for n in tree.body if isinstance(n, ast.Expr)]
    if 'print' in called and not cell.get('outputs') and not directive(cell, 'eval: *false'):
        yield 'prints, but shows no output: commit it executed'
    if not (export := directive(cell, 'exports?')): return
    if export[1].strip(): yield f'exports into {export[1].strip()}: a notebook exports one module'
    for pattern, what in IN_EXPORTS.items():
        if re.search(pattern, text(cell), re.M): yield f'exported code {what}'
    for n in tree.body:
        if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and n.name[0] != '_' and not ast.get_docstring(n):
            yield f'{n.name} has no docstring'

def module_rules(name, nb, root, mods, exporters):
    "The module that the notebook exports is its own, says the same, and builds only on notebooks before it"
    cells = [c for c in nb['cells'] if c['cell_type'] == 'code']
    targets = [m[1].strip() for c in cells if (m := directive(c, 'default_exp'))]
    before = set(exporters)
    for i, cell in enumerate(nb['cells']):
        if cell['cell_type'] != 'code': continue
        try: tree = ast.parse(python(cell))
        except SyntaxError: continue           # already said
        tools = set() if directive(cell, 'exports?') else WORKSHOP
        for other in sorted(set(imported(tree, '', mods))-{'miniai'}-before-tools):
            yield f'{name}: cell {i}: imports {other}, which no notebook before it exports'
    if len(targets) != 1: yield f'{name}: has {len(targets)} default_exp, not one'; return
    mod = f'miniai.{targets[0]}'
    if exporters.setdefault(mod, name) != name: yield f'{name}: exports {mod}, as {exporters[mod]} does'; return
    if mod not in mods: yield f'{name}: {mod} is not there: run nbdev_export'; return
    source, package = mods[mod].read_text(encoding='utf-8'), mod.rpartition('.')[0]
    where = mods[mod].relative_to(root).as_posix()
    if 'AUTOGENERATED' not in source.split('\n', 1)[0]:
        yield f'{where}: does not begin with "# AUTOGENERATED": no "> " line in the title cell'
    exported = '\n'.join(python(c) for c in cells if directive(c, 'exports?'))
    try: same = list(body(source, package)) == list(body(exported, package))
    except SyntaxError: return                 # already said
    if not same: yield f'{name}: {where} does not say the same: run nbdev_export'

def commands(root):
    "The commands in the README's code blocks that install the package and then use it"
    readme = root/'README.md'
    said = readme.read_text(encoding='utf-8') if readme.exists() else ''
    blocks = re.findall(r'^```[^\n]*\n(.*?)^```', said, re.M|re.S)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip().startswith(INSTALL)]

def readme_rules(root):
    "The README has the two commands, and no others like them"
    found = commands(root)
    if len(found) != 2 or not all(o.startswith(INSTALL+c) for o, c in zip(found, COMMANDS)):
        wanted = ' and '.join(f'`{INSTALL}{c}`' for c in COMMANDS)
        yield f'README.md: wants two commands, {wanted}, in that order; has {found}'

RULES = package_rules, notebook_rules, readme_rules
def check(root): return [line for rule in RULES for line in rule(Path(root))]

# --- what the demo leaves ------------------------------------------------------------------------------------------

def demo(folder):
    "What is missing in, or wrong with, what `miniai demo` left in `folder`"
    from PIL import Image
    from safetensors import safe_open
    folder = Path(folder)
    def read(p): return json.loads(p.read_text(encoding='utf-8'))
    def report(p):
        if missing := [k for k in REPORT if k not in read(p)]: raise ValueError(f'has no {missing}')
    def picture(p):
        with Image.open(p) as im: im.load()
    def tensors(p):
        with safe_open(str(p), framework='pt') as f:
            if not f.keys(): raise ValueError('holds no tensors')
            for k in f.keys(): f.get_tensor(k)
    opens = {'report.json': report, 'model.json': read, 'model.safetensors': tensors,
             'samples.png': picture, 'denoising.png': picture, 'loss.png': picture}
    for name, open_it in opens.items():
        try: open_it(folder/name)
        except Exception as e: yield f'{folder/name}: {type(e).__name__}: {e}'

def main(args):
    root = Path(__file__).resolve().parent.parent
    match args:
        case ['--commands', *rest]:
            wrong = list(readme_rules(Path(*rest or [root])))
            if not wrong: print(*commands(Path(*rest or [root])), sep='\n')
        case ['--demo', folder]: wrong = list(demo(folder))
        case []: wrong = check(root)
        case [folder] if Path(folder).is_dir(): wrong = check(folder)
        case _: sys.exit(__doc__)
    for line in wrong: print(line, file=sys.stderr)
    sys.exit(f'{len(wrong)} places fall short' if wrong else 0)

if __name__ == '__main__': main(sys.argv[1:])
