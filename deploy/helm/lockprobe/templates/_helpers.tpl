{{- define "lockprobe.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "lockprobe.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "lockprobe.selectorLabels" -}}
app.kubernetes.io/name: {{ include "lockprobe.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "lockprobe.labels" -}}
{{ include "lockprobe.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: agent
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "lockprobe.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "lockprobe.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "lockprobe.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository (default .Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "lockprobe.priorityClassName" -}}
{{- if .Values.priorityClass.create -}}
{{- include "lockprobe.fullname" . -}}
{{- else -}}
{{- .Values.priorityClassName -}}
{{- end -}}
{{- end -}}

{{- define "lockprobe.kubeVersion" -}}
{{- default .Capabilities.KubeVersion.Version .Values.kubeVersionOverride -}}
{{- end -}}

{{/* lockprobe.yaml: what `config` says, and where the endpoints are. */}}
{{- define "lockprobe.config" -}}
{{- $listen := "off" -}}
{{- if .Values.http.enabled -}}
{{- $address := .Values.http.address -}}
{{- if contains ":" $address -}}
{{- $address = printf "[%s]" $address -}}
{{- end -}}
{{- $listen = printf "%s:%d" $address (int .Values.http.port) -}}
{{- end -}}
{{- $config := mustMergeOverwrite (deepCopy .Values.config) (dict "http" (dict "listen" $listen)) -}}
{{- toYaml $config -}}
{{- end -}}

{{/* Before Kubernetes 1.30 the profile of AppArmor is an annotation. */}}
{{- define "lockprobe.appArmorAnnotation" -}}
{{- $profile := .Values.appArmorProfile -}}
{{- if eq $profile.type "RuntimeDefault" -}}
runtime/default
{{- else if eq $profile.type "Localhost" -}}
localhost/{{ $profile.localhostProfile }}
{{- else -}}
unconfined
{{- end -}}
{{- end -}}
