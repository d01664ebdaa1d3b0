/**
 * `npm publish` in the tree would publish a package that knows none of its platforms; scripts/stage.mjs lays it out.
 */

process.stderr.write(
  'Publish from the folder of `node scripts/stage.mjs`, platform packages first: docs/platforms.md\n',
)
process.exitCode = 1
