/** `npm publish` in the tree would publish a package that knows none of its platform packages: what scripts/pack.mjs packs is published. */

process.stderr.write(
  'Publish what `node scripts/pack.mjs <folder>` packs, platform packages first: docs/platforms.md\n',
)
process.exitCode = 1
