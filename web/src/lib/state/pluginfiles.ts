// Which of the files that somebody picked make a plugin.

interface Named {
  name: string;
  webkitRelativePath?: string;
}

/** How deep it lies in the folder that was picked; of a plugin's own source tree the outermost files count. */
const depth = (file: Named) => (file.webkitRelativePath ?? '').split('/').length;
const outermost = <T extends Named>(files: T[]) => files.sort((a, b) => depth(a) - depth(b))[0];

/** The component and its manifest; null: there is none, or several. */
export function partsOf<T extends Named>(files: T[]): { wasm: T; manifest: T | undefined; name: string } | null {
  const components = files.filter((file) => file.name.endsWith('.wasm'));
  const wasm = outermost(components);
  if (!wasm || components.filter((file) => depth(file) === depth(wasm)).length > 1) return null;
  const manifest =
    outermost(files.filter((file) => file.name === 'plugin.toml')) ??
    outermost(files.filter((file) => file.name.endsWith('.toml') && file.name !== 'Cargo.toml'));
  return { wasm, manifest, name: wasm.name.replace(/\.wasm$/, '').replace(/[^A-Za-z0-9_-]/g, '_') };
}

export function base64(file: Blob): Promise<string> {
  return new Promise((done, fail) => {
    const reader = new FileReader();
    reader.onload = () => done((reader.result as string).replace(/^[^,]*,/, ''));
    reader.onerror = () => fail(reader.error ?? new Error(''));
    reader.readAsDataURL(file);
  });
}
