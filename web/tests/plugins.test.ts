// Which of the files that somebody picked make a plugin.
import { expect, it } from 'vitest';
import { partsOf } from '../src/lib/state/pluginfiles';

const file = (path: string) => ({ name: path.split('/').at(-1)!, webkitRelativePath: path.includes('/') ? path : '' });
const of = (...paths: string[]) => {
  const parts = partsOf(paths.map(file));
  return parts && [parts.wasm.name, parts.manifest?.name, parts.name];
};

it('a component alone asks for nothing and is named after its file', () =>
  expect(of('my tool.wasm')).toEqual(['my tool.wasm', undefined, 'my_tool']));
it('a component comes with its manifest', () => expect(of('plugin.toml', 'a.wasm')).toEqual(['a.wasm', 'plugin.toml', 'a']));
it('of a source tree the outermost files count', () =>
  expect(of('a/target/deps/b.wasm', 'a/Cargo.toml', 'a/plugin.toml', 'a/a.wasm', 'a/sub/plugin.toml')).toEqual([
    'a.wasm',
    'plugin.toml',
    'a',
  ]));
it('nothing and several at once are no plugin', () => {
  expect(of('plugin.toml')).toBeNull();
  expect(of('a.wasm', 'b.wasm')).toBeNull();
  expect(of()).toBeNull();
});
