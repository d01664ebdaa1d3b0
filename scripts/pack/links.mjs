/**
 * The links of the documents that are packed. In the tree they are relative; in a package a link to a file that is
 * packed stays so, and one to another file of the tree becomes an address in the repository, at the version that is
 * packed. Anything else is an error.
 */

import { posix } from 'node:path'

/** Of Markdown, `](target)`, and of HTML, `src="target"`: what stands before the target, the target, its anchor. */
const LINK = /(\]\(|\b(?:src|href|srcset)=")([^)"#\s]*)(#[^)"\s]*)?/g
const CODE = /^(?:```|~~~)[\s\S]*?^(?:```|~~~)|`[^`\n]*`/gm

/** The text of a document at `path` as it is packed: `packed` are the files of the package, `tree` all that may be linked. */
export function packedText(path, text, { packed, tree, repository, version }) {
  return outsideCode(text, (part) =>
    part.replaceAll(LINK, (whole, before, target, anchor = '') => {
      if (target === '' || isAddress(target)) return whole
      const file = posix.join(posix.dirname(path), target).replace(/\/$/, '')
      if (packed.has(file)) return whole
      if (!tree.has(file)) throw new Error(`${path} links to ${target}, which is not in the tree`)
      const kind = tree.get(file) === 'folder' ? 'tree' : 'blob'
      return `${before}${repository}/${kind}/v${version}/${file}${anchor}`
    }),
  )
}

/**
 * What does not resolve in a set of documents, `path` to text: `files` are those beside them; what is at `repository` is
 * a file of the tree, by its name.
 */
export function lostLinks(documents, { files, tree, repository, version }) {
  const lost = []
  for (const [path, text] of documents) {
    outsideCode(text, (part) => {
      for (const [, , target, anchor = ''] of part.matchAll(LINK)) {
        const flaw = flawOf(path, target, anchor.slice(1))
        if (flaw !== null) lost.push(`${path}: ${target}${anchor} ${flaw}`)
      }
      return part
    })
  }
  return lost

  function flawOf(path, target, anchor) {
    if (isAddress(target)) {
      if (!target.startsWith(`${repository}/`)) return null
      const [, kind, at, file] = /^\/([^/]+)\/([^/]+)\/(.*)$/.exec(target.slice(repository.length)) ?? []
      if (at !== `v${version}`) return 'is not at the version that is packed'
      const is = tree.get(file)
      return is !== undefined && kind === (is === 'folder' ? 'tree' : 'blob') ? null : 'is not in the tree'
    }
    const file = target === '' ? path : posix.join(posix.dirname(path), target)
    if (!files.has(file)) return 'is not in the package'
    const page = documents.get(file)
    if (anchor === '' || page === undefined || anchorsOf(page).has(anchor)) return null
    return `has no heading #${anchor}`
  }
}

/** The anchors that a page has, as sites that show Markdown make them of its headings. */
function anchorsOf(text) {
  const headings = text.replaceAll(/^(?:```|~~~)[\s\S]*?^(?:```|~~~)/gm, '').matchAll(/^#+ +(.*)$/gm)
  const names = [...text.matchAll(/\b(?:id|name)="([^"]+)"/g)].map(([, name]) => name)
  const anchors = new Set(names)
  for (const [, heading] of headings) {
    const plain = heading
      .replaceAll(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .trim()
      .toLowerCase()
    const slug = plain.replaceAll(/[^\p{L}\p{N}\p{M}_ -]/gu, '').replaceAll(' ', '-')
    let name = slug
    for (let count = 1; anchors.has(name); count += 1) name = `${slug}-${count}`
    anchors.add(name)
  }
  return anchors
}

/** Paths of files of the tree to `file`, and of the folders that hold them to `folder`. */
export function treeOf(paths) {
  const tree = new Map()
  for (const path of paths) {
    tree.set(path, 'file')
    for (let folder = posix.dirname(path); folder !== '.'; folder = posix.dirname(folder)) tree.set(folder, 'folder')
  }
  return tree
}

function isAddress(target) {
  return /^[a-z][a-z+.-]*:/i.test(target)
}

function outsideCode(text, change) {
  let at = 0
  let made = ''
  for (const { 0: code, index } of text.matchAll(CODE)) {
    made += change(text.slice(at, index)) + code
    at = index + code.length
  }
  return made + change(text.slice(at))
}
