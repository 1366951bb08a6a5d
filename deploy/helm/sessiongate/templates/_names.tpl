{{- define "sessiongate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "sessiongate.fullname" -}}
{{- $name := include "sessiongate.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that never change. Call with (list CONTEXT COMPONENT); the component of the gateway is "gateway". */}}
{{- define "sessiongate.selectorLabels" -}}
{{- $context := index . 0 -}}
{{- $component := index . 1 -}}
app.kubernetes.io/name: {{ include "sessiongate.name" $context }}{{ if ne $component "gateway" }}-{{ $component }}{{ end }}
app.kubernetes.io/instance: {{ $context.Release.Name }}
{{- end -}}

{{/* All labels of an object. Call with (list CONTEXT COMPONENT). */}}
{{- define "sessiongate.labels" -}}
{{- $context := index . 0 -}}
{{ include "sessiongate.selectorLabels" . }}
app.kubernetes.io/version: {{ $context.Chart.AppVersion | quote }}
app.kubernetes.io/component: {{ index . 1 }}
app.kubernetes.io/part-of: sessiongate
app.kubernetes.io/managed-by: {{ $context.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $context.Chart.Name $context.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Labels of pods: none that changes with the chart, since that would restart them. Call with (list CONTEXT COMPONENT). */}}
{{- define "sessiongate.podLabels" -}}
{{ include "sessiongate.selectorLabels" . }}
app.kubernetes.io/component: {{ index . 1 }}
app.kubernetes.io/part-of: sessiongate
{{- end -}}

{{/* The label by which the monitoring and the policy of Redis select the pods of an application with the sidecar. */}}
{{- define "sessiongate.sidecar.podLabels" -}}
sessiongate-sidecar: {{ include "sessiongate.fullname" . }}
{{- end -}}

{{/* Labels that select the pods with the gateway. */}}
{{- define "sessiongate.podSelector" -}}
{{- if eq .Values.mode "sidecar" -}}
{{ include "sessiongate.sidecar.podLabels" . }}
{{- else -}}
{{ include "sessiongate.selectorLabels" (list . "gateway") }}
{{- end -}}
{{- end -}}

{{- define "sessiongate.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "sessiongate.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The ServiceAccount of Redis: its own, since that of the gateway may have rights in a cloud. */}}
{{- define "sessiongate.redisServiceAccountName" -}}
{{- ternary (printf "%s-redis" (include "sessiongate.fullname" .)) "default" .Values.serviceAccount.create -}}
{{- end -}}

{{/* The reference of an image. Call with (list IMAGE DEFAULT_TAG). */}}
{{- define "sessiongate.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ default (index . 1) $image.tag }}
{{- end -}}
{{- end -}}
