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

{{/* The bytes of a size of Redis (`1gb`) or of a quantity of Kubernetes (`384Mi`); 0 for another text. */}}
{{- define "sessiongate.bytes" -}}
{{- $text := toString . -}}
{{- $units := dict "" 1 "k" 1000 "m" 1000000 "g" 1000000000 "kb" 1024 "mb" 1048576 "gb" 1073741824 -}}
{{- $units = merge $units (dict "ki" 1024 "mi" 1048576 "gi" 1073741824) -}}
{{- $factor := get $units (regexFind "[A-Za-z]*$" $text | lower) | default 0 | int64 -}}
{{- mulf (regexFind "^[0-9.]+" $text | float64) $factor | int64 -}}
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
{{- $policies := default (dict) $config.policies -}}
{{- range $name, $upstream := $config.upstreams -}}
{{- range $option := list "policy" "refresh_token_policy" -}}
{{- $policy := get $upstream $option | toString -}}
{{- if and (hasKey $upstream $option) (not (contains "$" $policy)) (not (hasKey $policies $policy)) -}}
{{- $errors = append $errors (printf "config.upstreams.%s.%s: there is no policy `%s` in config.policies" $name $option $policy) -}}
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
{{- if .Values.tls.secretName -}}
{{- $listening := false -}}
{{- range $_, $listener := $config.listeners -}}
{{- $listening = or $listening (not (empty $listener.tls)) -}}
{{- end -}}
{{- if eq .Values.mode "sidecar" -}}
{{- if not (or $listening $addresses.admin.tls) -}}
{{- $errors = append $errors "tls.secretName: with mode: sidecar only for `tls` of config.listeners or config.admin" -}}
{{- end -}}
{{- else if hasKey $config "listen" -}}
{{- $errors = append $errors (printf "tls.secretName: config.listen (%s) has no TLS: remove it, and the gateway listens with TLS on port 8443. For another port set config.listeners" $config.listen) -}}
{{- else if not $listening -}}
{{- $errors = append $errors "tls.secretName: no listener of config.listeners has `tls`: set it, with the files in /run/secrets/tls" -}}
{{- end -}}
{{- end -}}
{{- if eq .Values.mode "sidecar" -}}
{{- range $addresses.tcp -}}
{{- if not .tls -}}
{{- $errors = append $errors (printf "config: with mode: sidecar a listener at %s would accept connections without TLS from all pods of the cluster: use a Unix socket (the default) or 127.0.0.1:%v" .address .port) -}}
{{- end -}}
{{- end -}}
{{- range $option := list "autoscaling" "httpRoute" "grpcRoute" -}}
{{- if (get $.Values $option).enabled -}}
{{- $errors = append $errors (printf "%s.enabled: only with mode: shared" $option) -}}
{{- end -}}
{{- end -}}
{{- if .Values.tls.issuerRef -}}
{{- $errors = append $errors "tls.issuerRef: only with mode: shared" -}}
{{- end -}}
{{- if has .Values.sidecar.application.name (list "sessiongate" "sessiongate-check") -}}
{{- $errors = append $errors (printf "sidecar.application.name: %s is the name of a container of the gateway" .Values.sidecar.application.name) -}}
{{- end -}}
{{- else if .Values.sidecar.application -}}
{{- $errors = append $errors "sidecar.application: only with mode: sidecar" -}}
{{- end -}}
{{- $pods := include "sessiongate.replicas" . | int -}}
{{- if and (not (contains "$" (toString $config.replicas))) (lt (int $config.replicas) $pods) -}}
{{- $errors = append $errors (printf "config.replicas: %v is less than the number of pods, %d: remove it" $config.replicas $pods) -}}
{{- end -}}
{{- if .Values.terminationGracePeriodSeconds -}}
{{- $needed := 0 -}}
{{- range $option := list "drain_delay" "grace" -}}
{{- $duration := get $config.shutdown $option | toString -}}
{{- if not (contains "$" $duration) -}}
{{- $needed = add $needed (include "sessiongate.seconds" (dict "value" $duration "option" $option) | int) -}}
{{- end -}}
{{- end -}}
{{- if le (int .Values.terminationGracePeriodSeconds) (int $needed) -}}
{{- $errors = append $errors (printf "terminationGracePeriodSeconds: %v must be longer than config.shutdown.drain_delay and grace, %d s" .Values.terminationGracePeriodSeconds $needed) -}}
{{- end -}}
{{- end -}}
{{- if .Values.redis.enabled -}}
{{- $limit := dig "limits" "memory" "" .Values.redis.resources | toString -}}
{{- $most := include "sessiongate.bytes" $limit | int64 -}}
{{- if and $most (gt (mul 5 (include "sessiongate.bytes" .Values.redis.maxmemory | int64)) (mul 4 $most)) -}}
{{- $errors = append $errors (printf "redis.maxmemory: the limit redis.resources.limits.memory (%s) must be higher by a quarter than %v" $limit .Values.redis.maxmemory) -}}
{{- end -}}
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
{{- if $errors -}}
{{- fail (printf "\n- %s" (join "\n- " $errors)) -}}
{{- end -}}
{{- end -}}
