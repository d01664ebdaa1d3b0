/**
 * The one way to skip a test. A skip is counted by the runner and its reason is printed, so that a green run never
 * hides what it did not do.
 */

interface Suite<Context> {
  (name: string, handler: (context: Context) => void | Promise<void>): void
  skip(name?: string): void
}

/** Registers a test, or, when `missing` says what this machine lacks for it, counts it as skipped for that reason. */
export function testUnless<Context>(
  suite: Suite<Context>,
  missing: string | null,
  name: string,
  handler: (context: Context) => void | Promise<void>,
): void {
  if (missing === null) {
    suite(name, handler)
    return
  }
  suite.skip(name)
  process.stdout.write(`skipped: ${name}: ${missing}\n`)
}
