#!/usr/bin/env python
"""Re-execute notebooks in place, each in a clean kernel of this Python, and clean what was written.

A notebook that fails stays on disk as it was, the others still run, and the failures are listed at the end.
Ctrl-C stops the run, and leaves the notebook that was running as it was.
"""
import argparse, os, re, sys, time
from fnmatch import fnmatch
from pathlib import Path

import nbformat
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbdev.clean import nbdev_clean

root = Path(__file__).resolve().parent.parent
nbs = root/'nbs'

def choose(patterns):
    "The notebooks that `patterns` name: 22, 22_convnet, 3?_*, nbs/22_convnet.ipynb; all of them without a pattern"
    paths, chosen = sorted(p for p in nbs.glob('*.ipynb') if p.name[0] not in '._'), []
    for pattern in patterns or ['*']:
        stem = Path(pattern).name.removesuffix('.ipynb')
        found = [p for p in paths if fnmatch(p.stem, stem) or fnmatch(p.stem.split('_')[0], stem)]
        if not found: sys.exit(f'execute: no notebook in nbs/ is called {pattern}')
        chosen += found
    return sorted(set(chosen))

def tidy(outputs):
    "Join the pieces of a stream, which arrive cut at random, up to the next display; drop what carriage returns hid"
    joined, streams = [], {}
    for o in outputs:
        if o.output_type != 'stream': streams = {}
        elif o.name in streams: streams[o.name].text += o.text; continue
        else: streams[o.name] = o
        joined.append(o)
    for o in joined:
        if o.output_type == 'stream': o.text = re.sub(r'[^\n]*\r(?!\n|$)', '', o.text.replace('\r\n', '\n'))
    return joined

def execute(path, timeout):
    "Run the notebook at `path` from its first cell and return it with its new outputs"
    nb = nbformat.read(path, as_version=4)
    own = KernelSpecManager(kernel_dirs=[])    # with no folder to look in, `python3` can only mean this interpreter
    km = AsyncKernelManager(kernel_name='python3', kernel_spec_manager=own)
    client = NotebookClient(nb, km=km, timeout=timeout, resources={'metadata': {'path': str(nbs)}}, record_timing=False,
                            store_widget_state=False, extra_arguments=['--log-level=ERROR'])
    try: client.execute(cleanup_kc=True)
    except Exception:                          # nbclient answers Ctrl-C by ending the kernel, which then looks dead
        if getattr(client, '_async_cleanup_kernel_future', None): raise KeyboardInterrupt from None
        raise
    for cell in nb.cells:
        if cell.cell_type == 'code': cell.outputs = tidy(cell.outputs)
    nb.metadata = {'kernelspec': {'display_name': 'python3', 'language': 'python', 'name': 'python3'}}
    return nb

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('names', nargs='*', help='numbers, names or globs of notebooks (all)')
    parser.add_argument('--scale', choices=['smoke', 'laptop', 'gpu'], help='as MINIAI_SCALE, which is the default')
    parser.add_argument('--timeout', type=float, help='minutes that one cell may take (no limit)')
    parser.add_argument('--dry-run', action='store_true', help='run, but write nothing')
    args = parser.parse_args()
    if args.scale: os.environ['MINIAI_SCALE'] = args.scale
    # the kernels start in nbs/: they import this checkout, and find the same data as a program started here
    os.environ['PYTHONPATH'] = os.pathsep.join(filter(None, [str(root), os.getenv('PYTHONPATH')]))
    if data := os.getenv('MINIAI_DATA'): os.environ['MINIAI_DATA'] = os.path.abspath(data)
    paths, failed, began = choose(args.names), [], time.time()
    os.chdir(root)
    for path in paths:
        print(f'{path.name:32}', end='', flush=True)
        start = time.time()
        try: nb = execute(path, args.timeout and args.timeout*60)
        except KeyboardInterrupt: sys.exit(f'{(time.time()-start)/60:6.1f} min  stopped')
        except Exception as e:                 # an error in a cell, a cell that takes too long, a kernel that died
            failed.append(path.name)
            print(f'{(time.time()-start)/60:6.1f} min  FAILED\n' + '\n'.join(str(e).splitlines()[-30:]), flush=True)
            continue
        if not args.dry_run:
            nbformat.write(nb, path)
            nbdev_clean(str(path))
        print(f'{(time.time()-start)/60:6.1f} min', flush=True)
    print(f'{len(paths)-len(failed)} of {len(paths)} notebooks ran, in {(time.time()-began)/60:.1f} minutes')
    if failed: sys.exit('failed: ' + ' '.join(failed))

if __name__ == '__main__': main()
