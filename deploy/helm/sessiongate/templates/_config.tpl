{{/*
The seconds of a duration, rounded up. Call with (dict "value" TEXT "option" NAME).
*/}}
{{- define "sessiongate.seconds" -}}
{{- $text := toString .value -}}
{{- if contains "$" $text -}}
{{- fail (printf "config.%s: the chart computes with this duration: write it without variables" .option) -}}
{{- end -}}
{{- $factors := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000 -}}
{{- $sum := 0 -}}
{{- range regexFindAll "[0-9]+(ms|s|m|h|d)" $text -1 -}}
{{- $sum = add $sum (mul (regexFind "^[0-9]+" . | int64) (get $factors (regexFind "[a-z]+$" .) | int64)) -}}
{{- end -}}
{{- div (add $sum 999) 1000 -}}
{{- end -}}

{{/* `threads`: the CPU limit, rounded up. Without a limit `auto` would be one for each CPU of the node. */}}
{{- define "sessiongate.threads" -}}
{{- $cpu := toString (dig "limits" "cpu" "" .Values.resources) -}}
{{- if not $cpu -}}
2
{{- else if hasSuffix "m" $cpu -}}
{{- max 1 (div (add (trimSuffix "m" $cpu | int64) 999) 1000) -}}
{{- else -}}
{{- max 1 (float64 $cpu | ceil | int64) -}}
{{- end -}}
{{- end -}}

{{/* The number of processes, for the check whether they need a shared store. */}}
{{- define "sessiongate.replicas" -}}
{{- if and (eq .Values.mode "shared") .Values.autoscaling.enabled -}}
{{ .Values.autoscaling.maxReplicas }}
{{- else -}}
{{ .Values.replicaCount }}
{{- end -}}
{{- end -}}

{{/* `store.redis` for the server of this chart. */}}
{{- define "sessiongate.redisStore" -}}
url: {{ ternary "rediss" "redis" (not (empty .Values.redis.tls.secretName)) }}://{{ include "sessiongate.fullname" . }}-redis:6379
username: gate
password: { file: /run/secrets/sessiongate/redis-password }
seal_keys: [{ file: /run/secrets/sessiongate/seal-key }]
{{- if .Values.redis.tls.secretName }}
tls: { ca_file: /run/secrets/redis-tls/ca.crt }
{{- else }}
allow_plaintext: true
{{- end }}
{{- end -}}

{{/* The configuration: that of the values, and what it leaves open and the chart knows. */}}
{{- define "sessiongate.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if not (or (hasKey $config "listen") (hasKey $config "listeners")) -}}
{{- if eq .Values.mode "sidecar" -}}
{{- $_ := set $config "listen" "unix:/run/sessiongate/gateway.sock" -}}
{{- else if .Values.tls.secretName -}}
{{- $files := dict "certificate" "/run/secrets/tls/tls.crt" "key" "/run/secrets/tls/tls.key" -}}
{{- $main := dict "address" "0.0.0.0:8443" "tls" (dict "certificates" (list $files)) -}}
{{- $_ := set $config "listeners" (dict "main" $main) -}}
{{- else -}}
{{- $_ := set $config "listen" "0.0.0.0:8080" -}}
{{- end -}}
{{- end -}}
{{- if not (hasKey $config "admin") -}}
{{- $_ := set $config "admin" "0.0.0.0:9090" -}}
{{- end -}}
{{- if and (eq .Values.mode "shared") (not (hasKey $config "control")) -}}
{{- $_ := set $config "control" "127.0.0.1:9091" -}}
{{- end -}}
{{- if not (hasKey $config "threads") -}}
{{- $_ := set $config "threads" (include "sessiongate.threads" . | int) -}}
{{- end -}}
{{- if not (hasKey $config "replicas") -}}
{{- $_ := set $config "replicas" (include "sessiongate.replicas" . | int) -}}
{{- end -}}
{{- $shutdown := dict "drain_delay" "10s" "grace" "30s" -}}
{{- if eq .Values.mode "sidecar" -}}
{{- $shutdown = dict "drain_delay" "0s" "grace" "10s" -}}
{{- end -}}
{{- $_ := set $config "shutdown" (merge (default (dict) $config.shutdown) $shutdown) -}}
{{- if .Values.redis.enabled -}}
{{- if not (hasKey $config "hash_key") -}}
{{- $_ := set $config "hash_key" (dict "file" "/run/secrets/sessiongate/hash-key") -}}
{{- end -}}
{{- if not (hasKey $config "store") -}}
{{- $_ := set $config "store" (dict "redis" (include "sessiongate.redisStore" . | fromYaml)) -}}
{{- end -}}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/*
Where the gateway listens, as YAML: `tcp`, a list of listeners with the `name` of the port, `address`, `port` and `tls`,
with `main` first; `local`, addresses that only the pod reaches; `admin` with `port`, `tls`, `loopback` or `socket`; `sockets` and their `directory`.
*/}}
{{- define "sessiongate.addresses" -}}
{{- $config := include "sessiongate.config" . | fromYaml -}}
{{- $listeners := default (dict "main" (dict "address" $config.listen)) $config.listeners -}}
{{- $tcp := list -}}
{{- $local := list -}}
{{- $sockets := list -}}
{{- range $name := concat (list "main") (without (keys $listeners | sortAlpha) "main") -}}
{{- if hasKey $listeners $name -}}
{{- $listener := get $listeners $name -}}
{{- $address := toString $listener.address -}}
{{- if contains "$" $address -}}
{{- fail (printf "config: the chart needs the address of listener %s: write it without variables" $name) -}}
{{- else if hasPrefix "unix:" $address -}}
{{- $sockets = append $sockets (trimPrefix "unix:" $address) -}}
{{- else if or (hasPrefix "127." $address) (hasPrefix "[::1]" $address) -}}
{{- $local = append $local $address -}}
{{- else -}}
{{- $port := regexFind "[0-9]+$" $address | int -}}
{{- $tls := not (empty $listener.tls) -}}
{{- $other := printf "in-%s" ($name | replace "_" "-" | trunc 12) | trimSuffix "-" -}}
{{- $shown := ternary $other (ternary "https" "http" $tls) (not (empty $tcp)) -}}
{{- $tcp = append $tcp (dict "address" $address "port" $port "tls" $tls "name" $shown) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $admin := $config.admin -}}
{{- if kindIs "map" $admin -}}
{{- $admin = dict "address" (default "127.0.0.1:9090" $admin.address) "tls" (not (empty $admin.tls)) -}}
{{- else -}}
{{- $admin = dict "address" (toString $admin) "tls" false -}}
{{- end -}}
{{- $address := $admin.address -}}
{{- if contains "$" $address -}}
{{- fail "config.admin: the chart needs this address: write it without variables" -}}
{{- else if hasPrefix "unix:" $address -}}
{{- $_ := set $admin "socket" (trimPrefix "unix:" $address) -}}
{{- $sockets = append $sockets $admin.socket -}}
{{- else -}}
{{- $_ := set $admin "port" (regexFind "[0-9]+$" $address | int) -}}
{{- $_ := set $admin "loopback" (or (hasPrefix "127." $address) (hasPrefix "[::1]" $address)) -}}
{{- end -}}
{{- $control := $config.control -}}
{{- if kindIs "map" $control -}}
{{- $control = $control.address -}}
{{- end -}}
{{- if hasPrefix "unix:" (toString $control) -}}
{{- $sockets = append $sockets (trimPrefix "unix:" $control) -}}
{{- end -}}
{{- $directories := list -}}
{{- range $sockets -}}
{{- $directories = append $directories (dir .) -}}
{{- end -}}
{{- if gt (len (uniq $directories)) 1 -}}
{{- fail (printf "config: Unix sockets must be in one directory, found %s" (join ", " (uniq $directories))) -}}
{{- end -}}
{{- dict "tcp" $tcp "local" $local "admin" $admin "directory" (first $directories | default "") "sockets" $sockets | toYaml -}}
{{- end -}}

{{/*
What needs a restart. A change of other options is applied by the running process, so their hash would restart pods for
nothing. Certificates of listeners are reloaded too.
*/}}
{{- define "sessiongate.restartRequired" -}}
{{- $config := include "sessiongate.config" . | fromYaml -}}
{{- $fixed := pick $config "listen" "admin" "control" "threads" "hash_key" "store" -}}
{{- $_ := set $fixed "log.format" (dig "log" "format" "json" $config) -}}
{{- $listeners := dict -}}
{{- range $name, $listener := $config.listeners -}}
{{- $own := omit $listener "tls" -}}
{{- if $listener.tls -}}
{{- $_ := set $own "tls" (omit $listener.tls "certificates") -}}
{{- end -}}
{{- $_ := set $listeners $name $own -}}
{{- end -}}
{{- $_ := set $fixed "listeners" $listeners -}}
{{- toYaml $fixed | sha256sum -}}
{{- end -}}

{{/* The time that a pod has to stop: all that the gateway may take, and a margin. */}}
{{- define "sessiongate.terminationGracePeriodSeconds" -}}
{{- if .Values.terminationGracePeriodSeconds -}}
{{ .Values.terminationGracePeriodSeconds }}
{{- else -}}
{{- $shutdown := (include "sessiongate.config" . | fromYaml).shutdown -}}
{{- $delay := include "sessiongate.seconds" (dict "value" $shutdown.drain_delay "option" "shutdown.drain_delay") | int -}}
{{- $grace := include "sessiongate.seconds" (dict "value" $shutdown.grace "option" "shutdown.grace") | int -}}
{{- /* The containers of an application stop before a sidecar does. */ -}}
{{- $application := ternary 30 0 (eq .Values.mode "sidecar") -}}
{{- add $application $delay $grace 5 -}}
{{- end -}}
{{- end -}}

{{/* How often a startup probe with a period of 2 s may fail: for half a minute longer than the gateway may take. */}}
{{- define "sessiongate.startupFailures" -}}
{{- $config := include "sessiongate.config" . | fromYaml -}}
{{- $limit := dict "value" (default "1m" $config.readiness_timeout) "option" "readiness_timeout" -}}
{{- div (add (include "sessiongate.seconds" $limit | int) 31) 2 -}}
{{- end -}}

{{/* The ports of URLs, as a JSON list: from (list TEXT…). A URL with a variable before its port gets the default. */}}
{{- define "sessiongate.ports" -}}
{{- $defaults := dict "http" 80 "https" 443 "redis" 6379 "rediss" 6379 -}}
{{- $ports := list -}}
{{- range . -}}
{{- if . -}}
{{- $scheme := regexFind "^[A-Za-z]+" . | lower -}}
{{- $authority := regexReplaceAll "^[A-Za-z]+://([^/]*@)?([^/?]*).*$" . "${2}" -}}
{{- $port := regexFind ":[0-9]+$" $authority | trimPrefix ":" | int -}}
{{- $ports = append $ports (default (get $defaults $scheme) $port | default 443) -}}
{{- end -}}
{{- end -}}
{{- $ports | uniq | toJson -}}
{{- end -}}

{{/* The ports of providers, their issuers and proxies. */}}
{{- define "sessiongate.providerPorts" -}}
{{- $urls := list -}}
{{- range $upstream := (include "sessiongate.config" . | fromYaml).upstreams -}}
{{- $urls = append $urls $upstream.url -}}
{{- range $proxy := list $upstream.egress_proxy (kindIs "map" $upstream.auth | ternary $upstream.auth (dict)).egress_proxy -}}
{{- if kindIs "map" $proxy -}}
{{- $urls = append $urls $proxy.url -}}
{{- end -}}
{{- end -}}
{{- if kindIs "map" $upstream.auth -}}
{{- $issuers := $upstream.auth.issuer -}}
{{- if $upstream.auth.jwks -}}
{{- $issuers = $upstream.auth.jwks -}}
{{- end -}}
{{- $urls = concat $urls (kindIs "slice" $issuers | ternary $issuers (list $issuers)) -}}
{{- end -}}
{{- end -}}
{{- include "sessiongate.ports" $urls -}}
{{- end -}}

{{/* The ports of the store, as a JSON list: empty if it is in memory. */}}
{{- define "sessiongate.storePorts" -}}
{{- $redis := dig "store" "redis" (dict) (include "sessiongate.config" . | fromYaml) -}}
{{- $urls := concat (list $redis.url) (default (list) $redis.cluster) -}}
{{- $ports := include "sessiongate.ports" $urls | fromJsonArray -}}
{{- range dig "sentinel" "nodes" (list) $redis -}}
{{- $ports = append $ports (regexFind ":[0-9]+$" . | trimPrefix ":" | int | default 26379) -}}
{{- end -}}
{{- if $redis.sentinel -}}
{{- $ports = append $ports 6379 -}}
{{- end -}}
{{- $ports | uniq | toJson -}}
{{- end -}}
