/**
 * The table of platforms: what each needs in its manifest, how the release builds it, and what has been seen of it. The
 * manifests in `npm/`, the check and `docs/platforms.md` follow it; the names are those of `ts/native/load.ts`.
 */

export const platforms = [
  { name: 'linux-x64-gnu', os: 'linux', cpu: 'x64', libc: 'glibc', rust: 'x86_64-unknown-linux-gnu' },
  { name: 'linux-x64-musl', os: 'linux', cpu: 'x64', libc: 'musl', rust: 'x86_64-unknown-linux-musl' },
  { name: 'linux-arm64-gnu', os: 'linux', cpu: 'arm64', libc: 'glibc', rust: 'aarch64-unknown-linux-gnu' },
  { name: 'linux-arm64-musl', os: 'linux', cpu: 'arm64', libc: 'musl', rust: 'aarch64-unknown-linux-musl' },
  { name: 'darwin-x64', os: 'darwin', cpu: 'x64', rust: 'x86_64-apple-darwin' },
  { name: 'darwin-arm64', os: 'darwin', cpu: 'arm64', rust: 'aarch64-apple-darwin' },
  { name: 'win32-x64-msvc', os: 'win32', cpu: 'x64', rust: 'x86_64-pc-windows-msvc' },
  { name: 'win32-arm64-msvc', os: 'win32', cpu: 'arm64', rust: 'aarch64-pc-windows-msvc' },
]

/** The platform of this process; undefined where there is no package for it. */
export function thisPlatform() {
  const { platform, arch } = process
  const isGlibc = platform === 'linux' && process.report.getReport().header.glibcVersionRuntime !== undefined
  const libc = platform === 'linux' ? (isGlibc ? 'glibc' : 'musl') : undefined
  return platforms.find((each) => each.os === platform && each.cpu === arch && each.libc === libc)
}

export function packageName(platform) {
  return `@balsa-raft/native-${platform.name}`
}

export function addonName(platform) {
  return `balsa-native.${platform.name}.node`
}

/** The manifest of a platform package; what all packages share comes from that of the root. */
export function manifestOf(platform, root) {
  return {
    name: packageName(platform),
    version: root.version,
    description: `The native log store of balsa-raft for ${platform.name}. Installed by balsa-raft; nothing imports it directly.`,
    license: root.license,
    ...(root.repository === undefined ? {} : { repository: root.repository }),
    type: 'commonjs',
    main: addonName(platform),
    files: [addonName(platform)],
    engines: root.engines,
    os: [platform.os],
    cpu: [platform.cpu],
    ...(platform.libc === undefined ? {} : { libc: [platform.libc] }),
  }
}
