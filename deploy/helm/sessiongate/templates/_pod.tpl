{{/* The security context of every container: the profile "restricted" of Pod Security, and a read-only image. */}}
{{- define "sessiongate.securityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{/* The security context of a pod. Secrets and sockets belong to the group. */}}
{{- define "sessiongate.podSecurityContext" -}}
runAsNonRoot: true
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: { type: RuntimeDefault }
{{- end -}}

{{/* The URL of `admin`, for `sessiongate probe`. */}}
{{- define "sessiongate.adminUrl" -}}
{{- $admin := (include "sessiongate.addresses" . | fromYaml).admin -}}
{{- if $admin.socket -}}
unix:{{ $admin.socket }}
{{- else -}}
{{ ternary "https" "http" $admin.tls }}://127.0.0.1:{{ $admin.port }}
{{- end -}}
{{- end -}}

{{/*
What a probe does. Call with (list CONTEXT HOW PATH): HOW is "exec", or "http" for a request of the kubelet if it can
reach `admin`. PATH is "/livez" or "/readyz".
*/}}
{{- define "sessiongate.probe" -}}
{{- $context := index . 0 -}}
{{- $path := index . 2 -}}
{{- $admin := (include "sessiongate.addresses" $context | fromYaml).admin -}}
{{- if or (eq (index . 1) "exec") $admin.socket $admin.loopback -}}
exec:
  command:
    - /usr/local/bin/sessiongate
    - probe
    - --{{ ternary "live" "ready" (eq $path "/livez") }}
    - --url={{ include "sessiongate.adminUrl" $context }}
    - --timeout=1s
timeoutSeconds: 3
{{- else -}}
httpGet:
  path: {{ $path }}
  port: admin
  {{- if $admin.tls }}
  scheme: HTTPS
  {{- end }}
timeoutSeconds: 2
{{- end }}
{{- end -}}

{{- define "sessiongate.containerPorts" -}}
{{- $addresses := include "sessiongate.addresses" . | fromYaml -}}
{{- range $addresses.tcp }}
- { name: {{ .name }}, containerPort: {{ .port }} }
{{- end }}
{{- if and $addresses.admin.port (not $addresses.admin.loopback) }}
- { name: admin, containerPort: {{ $addresses.admin.port }} }
{{- end }}
{{- end -}}

{{/* Volumes of the gateway. Their names begin with `sessiongate-`, since the pod may be another chart's. */}}
{{- define "sessiongate.volumes" -}}
{{- $addresses := include "sessiongate.addresses" . | fromYaml -}}
- name: sessiongate-config
  configMap: { name: {{ include "sessiongate.fullname" . }} }
{{- if .Values.secretName }}
- name: sessiongate-secrets
  projected:
    defaultMode: 0440
    sources:
      - secret: { name: {{ .Values.secretName }} }
{{- end }}
{{- if .Values.tls.secretName }}
- name: sessiongate-tls
  projected:
    defaultMode: 0440
    sources:
      - secret: { name: {{ .Values.tls.secretName }} }
{{- end }}
{{- if and .Values.redis.enabled .Values.redis.tls.secretName }}
- name: sessiongate-redis-tls
  projected:
    defaultMode: 0440
    sources:
      - secret: { name: {{ .Values.redis.tls.secretName }}, items: [{ key: ca.crt, path: ca.crt }] }
{{- end }}
{{- if $addresses.directory }}
- name: sessiongate-sockets
  emptyDir: { medium: Memory, sizeLimit: 1Mi }
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "sessiongate.volumeMounts" -}}
{{- $addresses := include "sessiongate.addresses" . | fromYaml -}}
- { name: sessiongate-config, mountPath: /etc/sessiongate, readOnly: true }
{{- if .Values.secretName }}
- { name: sessiongate-secrets, mountPath: /run/secrets/sessiongate, readOnly: true }
{{- end }}
{{- if .Values.tls.secretName }}
- { name: sessiongate-tls, mountPath: /run/secrets/tls, readOnly: true }
{{- end }}
{{- if and .Values.redis.enabled .Values.redis.tls.secretName }}
- { name: sessiongate-redis-tls, mountPath: /run/secrets/redis-tls, readOnly: true }
{{- end }}
{{- with $addresses.directory }}
- { name: sessiongate-sockets, mountPath: {{ . }} }
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What all containers of the gateway have in common. Call with (list CONTEXT COMMAND). */}}
{{- define "sessiongate.containerBase" -}}
{{- $context := index . 0 -}}
image: {{ include "sessiongate.image" (list $context.Values.image $context.Chart.AppVersion) }}
imagePullPolicy: {{ $context.Values.image.pullPolicy }}
args: [{{ index . 1 }}, -c, /etc/sessiongate/sessiongate.yaml]
{{- with $context.Values.env }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "sessiongate.securityContext" $context | nindent 2 }}
volumeMounts:
  {{- include "sessiongate.volumeMounts" $context | nindent 2 }}
resources:
  {{- toYaml $context.Values.resources | nindent 2 }}
{{- end -}}

{{/* The init container that checks the configuration, as a list; nothing if it is off. */}}
{{- define "sessiongate.checkContainers" -}}
{{- if .Values.checkBeforeStart -}}
- name: sessiongate-check
  {{- include "sessiongate.containerBase" (list . "check, --deploy") | nindent 2 }}
{{- end -}}
{{- end -}}

{{/*
The gateway. A startup probe of the shared gateway asks only whether the process runs: its readiness probe keeps requests
away until it is ready. The sidecar's asks whether it is ready: then the application starts.
*/}}
{{- define "sessiongate.gatewayContainer" -}}
{{- $sidecar := eq .Values.mode "sidecar" -}}
- name: sessiongate
  {{- include "sessiongate.containerBase" (list . "run") | nindent 2 }}
  {{- if $sidecar }}
  restartPolicy: Always
  {{- end }}
  {{- with include "sessiongate.containerPorts" . | trim }}
  ports:
    {{- . | nindent 4 }}
  {{- end }}
  startupProbe:
    {{- if $sidecar }}
    {{- include "sessiongate.probe" (list . "exec" "/readyz") | nindent 4 }}
    periodSeconds: 2
    failureThreshold: {{ include "sessiongate.startupFailures" . }}
    {{- else }}
    {{- include "sessiongate.probe" (list . "http" "/livez") | nindent 4 }}
    periodSeconds: 1
    failureThreshold: 30
    {{- end }}
  readinessProbe:
    {{- include "sessiongate.probe" (list . "http" "/readyz") | nindent 4 }}
    periodSeconds: 5
    failureThreshold: 2
  livenessProbe:
    {{- include "sessiongate.probe" (list . "http" "/livez") | nindent 4 }}
    periodSeconds: 10
    failureThreshold: 6
{{- end -}}

{{/* Annotations of the pods. Call with CONTEXT. */}}
{{- define "sessiongate.podAnnotations" -}}
checksum/restart-required: {{ include "sessiongate.restartRequired" . }}
{{- with .Values.podAnnotations }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Where pods run. Call with (list CONTEXT COMPONENT). */}}
{{- define "sessiongate.scheduling" -}}
{{- $context := index . 0 -}}
topologySpreadConstraints:
{{- with $context.Values.topologySpreadConstraints }}
  {{- toYaml . | nindent 2 }}
{{- else }}
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "sessiongate.selectorLabels" $ | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end }}
{{- with $context.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $context.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $context.Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $context.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $context.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/*
For charts that have this one as a dependency with `mode: sidecar`: call these templates with `.Subcharts.sessiongate`.

    spec:
      initContainers:
        {{- include "sessiongate.sidecar.initContainers" .Subcharts.sessiongate | nindent 8 }}
      containers:
        - name: application
          volumeMounts:
            {{- include "sessiongate.sidecar.applicationVolumeMounts" .Subcharts.sessiongate | nindent 12 }}
      volumes:
        {{- include "sessiongate.sidecar.volumes" .Subcharts.sessiongate | nindent 8 }}

The pod needs the labels of `sessiongate.sidecar.podLabels`, the annotations of `sessiongate.sidecar.podAnnotations`,
and the fsGroup 65532.
*/}}
{{- define "sessiongate.sidecar.initContainers" -}}
{{- if ne .Values.mode "sidecar" -}}
{{- fail "sessiongate.sidecar.initContainers: set mode: sidecar in the values of sessiongate" -}}
{{- end -}}
{{- include "sessiongate.validate" . -}}
{{- with include "sessiongate.checkContainers" . -}}
{{ . }}
{{ end -}}
{{- include "sessiongate.gatewayContainer" . -}}
{{- end -}}

{{- define "sessiongate.sidecar.volumes" -}}
{{- include "sessiongate.volumes" . -}}
{{- end -}}

{{- define "sessiongate.sidecar.podAnnotations" -}}
{{- include "sessiongate.podAnnotations" . -}}
{{- end -}}

{{- define "sessiongate.sidecar.applicationVolumeMounts" -}}
{{- with (include "sessiongate.addresses" . | fromYaml).directory -}}
- { name: sessiongate-sockets, mountPath: {{ . }}, readOnly: true }
{{- else -}}
[]
{{- end -}}
{{- end -}}
