import { defineConfig } from 'vitest/config'

const globalSetup = ['test/support/template-database.ts']
// Every answer of the interface is held against its description.
const setupFiles = ['test/support/watch-answers.ts']
// Only against hanging: no test is about speed.
const timeouts = { testTimeout: 60_000, hookTimeout: 120_000 }

export default defineConfig({
  test: {
    // Two cores: more workers than that only make the servers under test wait for each other.
    maxWorkers: 2,
    projects: [
      { test: { name: 'unit', include: ['test/unit/**/*.test.ts'], ...timeouts } },
      { test: { name: 'rules', include: ['test/rules/**/*.test.ts'], ...timeouts } },
      {
        test: {
          name: 'integration',
          include: ['test/integration/**/*.test.ts'],
          globalSetup,
          setupFiles,
          ...timeouts,
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts'],
          globalSetup,
          setupFiles,
          ...timeouts,
          testTimeout: 180_000,
        },
      },
      {
        test: {
          name: 'interop',
          include: ['test/interop/**/*.test.ts'],
          globalSetup,
          setupFiles,
          ...timeouts,
          testTimeout: 180_000,
        },
      },
    ],
  },
})
