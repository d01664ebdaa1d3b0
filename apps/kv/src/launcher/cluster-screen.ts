/** What the launcher shows: a table, and one line per event. Colours only on a terminal. */

import { formatAddress } from '../cluster/members.js'
import type { Answer } from './ask-server.js'
import type { ServerProcess } from './server-process.js'

export interface Screen {
  readonly say: (line: string) => void
  readonly warn: (line: string) => void
  readonly table: (servers: readonly ServerProcess[], answers: readonly (Answer | null)[]) => void
}

export function clusterScreen(stream: NodeJS.WriteStream): Screen {
  const colours = stream.isTTY && process.env['NO_COLOR'] === undefined
  const paint = (code: number, text: string): string => (colours ? `\x1b[${code}m${text}\x1b[0m` : text)
  const say = (line: string): void => void stream.write(`${line}\n`)
  return {
    say,
    warn: (line) => say(paint(33, line)),
    table: (servers, answers) => {
      const head = ['server', 'role', 'redis', 'peers', 'pid', 'data folder', 'log']
      const rows = servers.map(({ member, pid, dir, log }, at) => [
        member.id,
        answers[at]?.role ?? '?',
        formatAddress(member.redis),
        formatAddress(member.peer),
        String(pid ?? '-'),
        dir,
        log,
      ])
      const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)))
      const line = (cells: readonly string[]): string =>
        cells
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join('  ')
          .trimEnd()
      say(paint(1, line(head)))
      for (const row of rows) say(row[1] === 'leader' ? paint(32, line(row)) : line(row))
    },
  }
}
