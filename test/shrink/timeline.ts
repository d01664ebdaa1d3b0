/**
 * A story, told in the lines of the transcripts, as a mermaid diagram: servers side by side, messages as arrows at the
 * moment they arrive, everything else as notes. What matters least goes first when it is too long, then what is longest
 * ago.
 */

/** Lines of a diagram that still fits a page. */
const LINES_MAX = 60

/** From what is least missed on. */
const UNIMPORTANT: readonly RegExp[] = [
  /may apply|proposals above|^world /,
  /heartbeat|disk: ticket|AppendEntriesResult .* matched/,
  /client /,
]

interface Drawn {
  /** Null for what is not a note. */
  readonly noteOver: string | null
  readonly text: string
}

/** Markdown with one diagram; the violation is its last note. */
export function timelineOf(title: string, story: readonly string[], violation: string): string {
  const servers = [...new Set(story.flatMap((line) => line.match(/\bs\d+\b/g) ?? []))].sort()
  const room = LINES_MAX - servers.length - 3
  let lines = story
  for (const pattern of UNIMPORTANT) {
    if (drawn(lines).length <= room) break
    lines = lines.filter((line) => !pattern.test(line))
  }
  const all = drawn(lines)
  const kept = all.slice(-room)
  const over = [servers[0], servers.at(-1)].join(',')
  const diagram = [
    'sequenceDiagram',
    ...servers.map((id) => `  participant ${id}`),
    ...(kept.length < all.length
      ? [`  Note over ${over}: ${all.length - kept.length} earlier lines are left out`]
      : []),
    ...kept.map(({ text }) => `  ${text}`),
    `  Note over ${over}: broken: ${plain(violation)}`,
  ]
  return `# ${title}\n\n\`\`\`mermaid\n${diagram.join('\n')}\n\`\`\`\n`
}

/** The lines of a diagram; neighbouring notes of one server are one. */
function drawn(story: readonly string[]): readonly Drawn[] {
  const lines: Drawn[] = []
  for (const line of story) {
    const [server, rest] = splitAt(line, ' ')
    const [, from = '', received = ''] = /^receives from (\w+): (.*)$/.exec(rest) ?? []
    const [, to = '', lost = ''] = /^sends to (\w+): (.*) \(lost\)$/.exec(rest) ?? []
    if (received !== '') lines.push({ noteOver: null, text: `${from}->>${server}: ${plain(received)}` })
    else if (lost !== '') lines.push({ noteOver: null, text: `${server}--x${to}: ${plain(lost)}` })
    else if (!rest.startsWith('sends to ')) note(lines, server, plain(rest))
  }
  return lines
}

function note(lines: Drawn[], server: string, text: string): void {
  const before = lines.at(-1)
  if (before?.noteOver === server) lines[lines.length - 1] = { noteOver: server, text: `${before.text}<br/>${text}` }
  else lines.push({ noteOver: server, text: `Note over ${server}: ${text}` })
}

/** Without what mermaid reads as its own. */
function plain(text: string): string {
  return text.replaceAll(';', ',').replaceAll('#', 'no. ')
}

function splitAt(text: string, separator: string): readonly [string, string] {
  const at = text.indexOf(separator)
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + separator.length)]
}
