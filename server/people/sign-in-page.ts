/** The page that says why a sign-in did not work: no script, no style, nothing from elsewhere. */
export function signInPage({ message, requestId }: { message: string; requestId: string }): string {
  return `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Not signed in - Fleetseal</title></head>
<body>
<main>
<h1>Not signed in</h1>
<p>${escaped(message)}.</p>
<p><a href="/">Back to sign-in</a></p>
<p><small>Request ${escaped(requestId)}</small></p>
</main>
</body>
</html>
`
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

function escaped(text: string): string {
  return text.replaceAll(/[&<>"']/g, (character) => entities[character] ?? '')
}
