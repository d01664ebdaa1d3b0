/** What many worlds come to together. */

/** What a batch of many worlds must have been in; whatever is missing was not tested. */
export const MUST_REACH: readonly string[] = []

export function formatCounts(counts: ReadonlyMap<string, number>): string {
  return [...counts]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([what, times]) => `${String(times).padStart(9)}  ${what}`)
    .join('\n')
}
