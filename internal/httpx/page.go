package httpx

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"
)

// page is a page for people.
type page struct {
	Title, Text string
	Until       *time.Time
	Links       []string
}

// pageStyle is the only style or script that a browser may apply to a page. The
// policy allows it by its digest.
const pageStyle = `body{font:18px/1.6 system-ui,sans-serif;max-width:36rem;margin:20vh auto;padding:0 1.5rem;color:#1c1e21;background:#fafafa}` +
	`h1{font-size:1.6rem}p{white-space:pre-line;overflow-wrap:anywhere}` +
	`@media(prefers-color-scheme:dark){body{color:#e6e6e6;background:#16181b}a{color:#8ab4f8}}`

var pagePolicy = func() string {
	digest := sha256.Sum256([]byte(pageStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(digest[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

var pageTemplate = template.Must(template.New("page").
	Funcs(template.FuncMap{"style": func() template.CSS { return pageStyle }}).
	Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{.Title}}</title>
<style>{{style}}</style>
</head>
<body>
<h1>{{.Title}}</h1>
<p>{{.Text}}</p>
{{with .Until}}<p>Until <time datetime="{{.Format "2006-01-02T15:04:05Z07:00"}}">{{.Format "2 January 2006, 15:04 MST"}}</time>.</p>
{{end}}{{range .Links}}<p><a href="{{.}}">{{.}}</a></p>
{{end}}</body>
</html>
`))

// renderPage returns the page as HTML.
func renderPage(p page) []byte {
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, p); err != nil {
		panic(err) // cannot happen: the template is fixed, and writing to a buffer never fails
	}
	return b.Bytes()
}

// landing answers in place of the platform if no upstream is configured.
func landing(c echo.Context) error {
	noStore(c)
	c.Response().Header().Set(echo.HeaderContentSecurityPolicy, pagePolicy)
	return send(c, http.StatusOK, typeHTML, landingPage)
}

var landingPage = renderPage(page{
	Title: "Platform settings",
	Text:  "The gate is open. Nothing is behind it yet: set UPSTREAM_URL to the platform's address.",
	Links: []string{"/api/v1/maintenance", "/api/v1/settings", "/readyz"},
})
