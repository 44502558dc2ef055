import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'

import { type RequestHandler, type Response, Router } from 'express'

import { DomainError } from '../errors.ts'
import { type ProblemCode, problemHelp } from './problem-help.ts'
import { problems } from './problem.ts'

const swaggerUi = dirname(createRequire(import.meta.url).resolve('swagger-ui-dist/package.json'))

/** Nothing from elsewhere and nothing inline; `data:` for the arrows in the style sheet of Swagger UI. */
const policy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

const initializer = `window.addEventListener('load', () => {
  SwaggerUIBundle({
    url: '/openapi.json',
    dom_id: '#swagger-ui',
    layout: 'BaseLayout',
    presets: [SwaggerUIBundle.presets.apis],
    validatorUrl: null,
    deepLinking: true,
    docExpansion: 'none',
    filter: true,
    persistAuthorization: false,
  })
})
`

const style = `body { margin: 0; font: 16px/1.5 system-ui, sans-serif; color: #1b1f24; background: #fff }
main, header { max-width: 50rem; margin: 0 auto; padding: 1rem }
code { font-family: ui-monospace, monospace; background: #f1f3f5; padding: 0 0.25rem }
@media (max-width: 40rem) {
  .swagger-ui .opblock-tag { flex-wrap: wrap }
  .swagger-ui .opblock-tag small { flex: 1 0 100%; order: 1; padding: 0 }
}
th, td { text-align: left; vertical-align: top; padding: 0.3rem 1rem 0.3rem 0 }
@media (prefers-color-scheme: dark) {
  body.plain { color: #e6e8eb; background: #16181c }
  body.plain code { background: #2a2e35 }
  body.plain a { color: #8ab4f8 }
}
`

/** The pages that describe the interface: `/docs` shows the OpenAPI document, `/docs/problems` what each refusal means. All comes from this server. */
export function docsRouter(): Router {
  const router = Router({ strict: false })
  router.use((_req, res, next) => {
    res.locals['route'] = '/docs'
    res.setHeader('Content-Security-Policy', policy)
    next()
  })
  router.get('/', page(swaggerPage))
  router.get('/problems', page(problemList()))
  router.get('/problems/:code', (req, res) => {
    const code = req.params['code']
    if (!isProblem(code)) throw new DomainError('not-found', 'There is no such problem')
    send(res, problemPage(code))
  })
  router.get('/initializer.js', (_req, res) => void res.type('text/javascript').send(initializer))
  router.get('/page.css', (_req, res) => void res.type('text/css').send(style))
  for (const file of ['swagger-ui.css', 'swagger-ui-bundle.js'] as const) {
    router.get(`/${file}`, (_req, res) => {
      res.sendFile(join(swaggerUi, file), { maxAge: '1d' })
    })
  }
  router.all(/.*/, (req) => {
    if (req.method === 'GET' || req.method === 'HEAD') {
      throw new DomainError('not-found', `There is nothing at ${req.path.slice(0, 200)}`)
    }
    req.res?.setHeader('Allow', 'GET, HEAD')
    throw new DomainError('method-not-allowed', 'Use GET')
  })
  return router
}

const page =
  (html: string): RequestHandler =>
  (_req, res) =>
    send(res, html)

function send(res: Response, html: string): void {
  res.type('text/html').send(html)
}

function isProblem(code: unknown): code is ProblemCode {
  return typeof code === 'string' && Object.hasOwn(problemHelp, code)
}

const head = (title: string, more = '') => `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/page.css">
${more}</head>`

const swaggerPage = `${head('Fleetseal: the interface', '<link rel="stylesheet" href="/docs/swagger-ui.css">\n')}
<body>
<header><a href="/openapi.json">openapi.json</a> · <a href="/docs/problems">What refusals mean</a></header>
<div id="swagger-ui"></div>
<noscript>The same without a script: <a href="/openapi.json">openapi.json</a></noscript>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/initializer.js"></script>
</body>
</html>
`

function problemList(): string {
  const rows = Object.entries(problemHelp).map(
    ([code, { meaning }]) =>
      `<tr><td><a href="/docs/problems/${code}"><code>${code}</code></a></td><td>${statusOf(code as ProblemCode)}</td><td>${marked(meaning)}</td></tr>`,
  )
  return `${head('Fleetseal: what refusals mean')}
<body class="plain"><main>
<p><a href="/docs">The interface</a></p>
<h1>What refusals mean</h1>
<p>A refusal is <code>application/problem+json</code> (RFC 9457). Its <code>code</code> is one of these and never changes meaning; its <code>type</code> leads here.</p>
<table><tr><th>code</th><th>status</th><th></th></tr>
${rows.join('\n')}
</table></main></body></html>
`
}

function problemPage(code: ProblemCode): string {
  const { meaning, next } = problemHelp[code]
  return `${head(`Fleetseal: ${code}`)}
<body class="plain"><main>
<p><a href="/docs/problems">All problems</a></p>
<h1>${code}</h1>
<p>Status ${statusOf(code)}. ${marked(meaning)}</p>
<h2>What to do</h2>
<p>${marked(next)}</p>
</main></body></html>
`
}

function statusOf(code: ProblemCode): number {
  return code === 'internal' ? 500 : problems[code][0]
}

/** Our own texts: what stands in backquotes is code. */
function marked(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll(/`([^`]+)`/g, '<code>$1</code>')
}
