#!/usr/bin/env node
// The `fleetseal` command: starts cli/main.ts under the pinned Node, whatever Node the machine has.
'use strict'
const { realpathSync } = require('node:fs')
const { dirname, join } = require('node:path')
process.argv.splice(2, 0, 'cli')
require(join(dirname(realpathSync(__filename)), '..', 'scripts', 'run.cjs'))
