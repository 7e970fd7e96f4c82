FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /api ./cmd/api

# CA certificates and time zones, and neither a shell nor a package manager.
FROM gcr.io/distroless/static-debian12
COPY --from=build /api /api
# By number: Kubernetes checks runAsNonRoot without the image's /etc/passwd.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/api"]
