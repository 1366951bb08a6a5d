{{/*
Paths of texts that Helm, which reads YAML 1.1, has read as another value: `yes` as true, `0660` as 432. Call with
(list PATH VALUE); returns lines.
*/}}
{{- define "sessiongate.misread" -}}
{{- $path := index . 0 -}}
{{- $value := index . 1 -}}
{{- if kindIs "map" $value -}}
{{- range $key, $inner := $value -}}
{{- $below := printf "%s.%s" $path $key -}}
{{- if and (has $key (list "default" "regex" "mode" "owner")) (not (kindIs "string" $inner)) }}
{{ $below }}
{{ else }}
{{ include "sessiongate.misread" (list $below $inner) }}
{{ end -}}
{{- end -}}
{{- else if kindIs "slice" $value -}}
{{- range $index, $inner := $value -}}
{{- $below := printf "%s[%d]" $path $index -}}
{{- if kindIs "map" $inner }}
{{ include "sessiongate.misread" (list $below $inner) }}
{{ else if not (kindIs "string" $inner) }}
{{ $below }}
{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Upstreams with a cache, by name. */}}
{{- define "sessiongate.cached" -}}
{{- $names := list -}}
{{- range $name, $upstream := (include "sessiongate.config" . | fromYaml).upstreams -}}
{{- if kindIs "map" $upstream.cache -}}
{{- $names = append $names $name -}}
{{- end -}}
{{- end -}}
{{- join ", " $names -}}
{{- end -}}

{{/* Whether several processes cache in memory, and so do not see each other's writes: the upstreams, or nothing. */}}
{{- define "sessiongate.unshared" -}}
{{- $config := include "sessiongate.config" . | fromYaml -}}
{{- if and (gt (int $config.replicas) 1) (not (dig "store" "redis" "" $config)) -}}
{{- include "sessiongate.cached" . -}}
{{- end -}}
{{- end -}}

{{/* Fails with everything that values.schema.json cannot check. */}}
{{- define "sessiongate.validate" -}}
{{- $errors := list -}}
{{- $config := include "sessiongate.config" . | fromYaml -}}
{{- $addresses := include "sessiongate.addresses" . | fromYaml -}}
{{- if and .Values.checkBeforeStart (include "sessiongate.unshared" .) -}}
{{- $errors = append $errors (printf "config.upstreams: %s: `cache` with %v processes needs a store in Redis: set redis.enabled or config.store.redis, or replicaCount: 1, or remove `cache`" (include "sessiongate.unshared" .) $config.replicas) -}}
{{- end -}}
{{- if eq (toString $config.admin) "off" -}}
{{- $errors = append $errors "config.admin: off: the probes need this listener" -}}
{{- end -}}
{{- if and (eq .Values.mode "shared") (not $addresses.tcp) -}}
{{- $errors = append $errors "config: no listener that other pods can reach: listen on an address such as 0.0.0.0:8080" -}}
{{- end -}}
{{- range $option := list "listeners" "policies" -}}
{{- range include "sessiongate.misread" (list (printf "config.%s" $option) (get $config $option)) | splitList "\n" -}}
{{- if trim . -}}
{{- $errors = append $errors (printf "%s: not a text: put it into quotation marks, since Helm reads yes, no, on, off and numbers such as 0660 as other values" (trim .)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if ne .Values.fieldPatterns "sorted" -}}
{{- range $name, $policy := $config.policies -}}
{{- $patterns := list -}}
{{- range $key, $_ := $policy.fields -}}
{{- if or (contains "*" $key) (hasPrefix "/" $key) -}}
{{- $patterns = append $patterns $key -}}
{{- end -}}
{{- end -}}
{{- if gt (len $patterns) 1 -}}
{{- $errors = append $errors (printf "config.policies.%s.fields: the first pattern that matches applies, and Helm sorts them: %s. If this order is right, or does not matter, set fieldPatterns: sorted" $name (sortAlpha $patterns | join ", ")) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.redis.enabled (not .Values.secretName) -}}
{{- $errors = append $errors "redis.enabled: set secretName to a Secret with hash-key, seal-key and redis-password" -}}
{{- end -}}
{{- if and .Values.redis.enabled .Values.config.store -}}
{{- $errors = append $errors "redis.enabled: the gateway would not use this server, because config.store is set: remove one of both" -}}
{{- end -}}
{{- if and .Values.externalSecret.enabled (not .Values.secretName) -}}
{{- $errors = append $errors "externalSecret.enabled: set secretName to the Secret that it writes" -}}
{{- end -}}
{{- if and .Values.redis.tls.issuerRef (not .Values.redis.tls.secretName) -}}
{{- $errors = append $errors "redis.tls.issuerRef: set redis.tls.secretName to the Secret that cert-manager writes" -}}
{{- end -}}
{{- if and .Values.tls.issuerRef (not .Values.tls.secretName) -}}
{{- $errors = append $errors "tls.issuerRef: set tls.secretName to the Secret that cert-manager writes" -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled .Values.grpcRoute.enabled -}}
{{- if or (not .Values.httpRoute.hostnames) (not .Values.grpcRoute.hostnames) -}}
{{- $errors = append $errors "httpRoute and grpcRoute: both need hostnames, since a Gateway accepts only one of them for a host" -}}
{{- end -}}
{{- range .Values.httpRoute.hostnames -}}
{{- if has . $.Values.grpcRoute.hostnames -}}
{{- $errors = append $errors (printf "grpcRoute.hostnames: %s is also in httpRoute.hostnames: a Gateway accepts only one of them for a host" .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.grpcRoute.enabled $addresses.tcp -}}
{{- if (first $addresses.tcp).tls -}}
{{- $errors = append $errors "grpcRoute.enabled: the listener has TLS, and a Gateway speaks gRPC with TLS to a backend only with a BackendTLSPolicy of your own" -}}
{{- end -}}
{{- end -}}
{{- if $errors -}}
{{- fail (printf "\n- %s" (join "\n- " $errors)) -}}
{{- end -}}
{{- end -}}
