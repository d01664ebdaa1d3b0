/** `npm publish` in the tree would publish a package without its platform packages: scripts/pack.mjs makes what is published. */

process.stderr.write(
  'Publish what `node scripts/pack.mjs <folder>` packs, platform packages first: docs/platforms.md\n',
)
process.exitCode = 1
