# Source this on the offline machine: . FOLDER/unpack.sh
# With FlashInfer in it, an engine that shall use it gets (engine.env of the fleet file)
#   PYTHONPATH: /opt/headrace/flashinfer:/opt/headrace/flashinfer/nvidia_cutlass_dsl/dsl_packages
# Unpacks the parts beside it to $HEADRACE_BUNDLE (/opt/headrace) once, lets the machine's Python
# find vLLM, and puts `headrace` and `vllm` on PATH. Undo: remove the folder and the .pth file.
bundle=${HEADRACE_BUNDLE:-/opt/headrace}
parts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=$(python3 -c 'import sys; print(sys.executable)')
if [ ! -e "$bundle/.unpacked" ]; then
    if ! (cd "$parts" && sha256sum --quiet --strict --check SHA256SUMS); then
        echo "unpack.sh: $parts is not whole: copy the bundle there again" >&2
        return 1
    fi
    mkdir -p "$bundle/bin" "$bundle/env/bin"
    cat "$parts"/part.* | xz -dc -T0 | tar -C "$bundle" -xf - || return 1
    # at the end of the path: what the machine has comes first
    printf '%s\n' "$bundle/vllm" "$bundle/extra" > \
        "$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/zz_headrace_bundle.pth"
    # Headrace's own environment, as `python3 -m venv` would make it; it may use vLLM's dependencies
    base=$("$python" -c 'import os, sys; print(os.path.realpath(sys._base_executable))')
    ln -sf "$base" "$bundle/env/bin/python3"
    printf 'home = %s\ninclude-system-site-packages = false\n' "$(dirname "$base")" > "$bundle/env/pyvenv.cfg"
    lib=$("$bundle/env/bin/python3" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
    mkdir -p "$(dirname "$lib")" && mv "$bundle/headrace" "$lib"
    echo "$bundle/extra" > "$lib/zz_headrace_bundle.pth"
    # and vLLM's Python may use Headrace's: what both need was packed once
    echo "$lib" >> "$("$python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')/zz_headrace_bundle.pth"
    cat > "$bundle/bin/headrace" <<END
#!$bundle/env/bin/python3
from headrace.cli.main import main
if __name__ == "__main__":
    main()
END
    cat > "$bundle/bin/vllm" <<END
#!$python
# \`vllm serve MODEL ...\` without the imports of vLLM's other verbs: the same server, the same options
import runpy, sys
if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"] and "--api-server-count" not in sys.argv:
        sys.argv[1:3] = ["--model", sys.argv[2]]
        runpy.run_module("vllm.entrypoints.openai.api_server", run_name="__main__", alter_sys=True)
    else:
        from vllm.entrypoints.cli.main import main
        sys.exit(main())
END
    chmod +x "$bundle/bin/headrace" "$bundle/bin/vllm"
    touch "$bundle/.unpacked"
fi
case ":$PATH:" in *":$bundle/bin:"*) ;; *) export PATH="$bundle/bin:$PATH" ;; esac
export HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1
