#!/usr/bin/env node
/** `npx balsa-kv`. A file of its own, because npm links only what is there before anything is built. */

import '../dist/main.js'
