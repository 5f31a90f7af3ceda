# Said to an interactive bash as the first of its input.  Cells follow, each as `eval '...' </dev/null` and a line
# that tells both of the host's streams how it ended.  Interactive, because only such a shell goes on to its next
# line after an interrupt; without a terminal, job control and history.
PS1= PS2= PS4='+ '
unset PROMPT_COMMAND HISTFILE
set +o history +H +m
exec 198>&1 199>&2
__vmpool_end() {
  printf '\036@MARK@:end:%s:%s\036' "$1" "$2" >&198
  printf '\036@MARK@:end:%s:%s\036' "$1" "$2" >&199
  __vmpool_last=$1
  return "$2"
}
__vmpool_sync() {
  printf '\036@MARK@:sync:%s:%s\036' "$1" "$__vmpool_last" >&198
}
__vmpool_end 0 0
