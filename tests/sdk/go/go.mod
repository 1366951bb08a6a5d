module sessiongate/tests/sdk/go

go 1.24.0

require (
	github.com/auth0/go-auth0 v1.45.0
	github.com/auth0/go-auth0/v2 v2.1.0
)

require (
	github.com/PuerkitoBio/rehttp v1.4.0 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/lestrrat-go/blackmagic v1.0.3 // indirect
	github.com/lestrrat-go/httpcc v1.0.1 // indirect
	github.com/lestrrat-go/httprc v1.0.6 // indirect
	github.com/lestrrat-go/iter v1.0.2 // indirect
	github.com/lestrrat-go/jwx/v2 v2.1.6 // indirect
	github.com/lestrrat-go/option v1.0.1 // indirect
	golang.org/x/crypto v0.39.0 // indirect
	golang.org/x/oauth2 v0.32.0 // indirect
)
