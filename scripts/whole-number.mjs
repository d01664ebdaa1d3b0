/** A number from a command line: throws one that names the option, what was given and the bounds. */
export function wholeNumber(name, text, min, max) {
  const value = /^\d+$/.test(text) ? Number(text) : NaN
  if (!(value >= min && value <= max))
    throw new Error(`${name} is ${text}; it must be a whole number in ${min} .. ${max}`)
  return value
}
