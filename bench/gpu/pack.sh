#!/usr/bin/env bash
# For a machine with a card but without a network: what it lacks, as archives in parts of 51 MB that card.sh unpacks.
#   PYTHON=python3.12 bench/gpu/pack.sh FOLDER      # the card machine's Python; gives FOLDER/{site,vllm,sglang,fa4}.tar.xz.NN
set -eu
here=$(dirname "$(realpath "$0")") python=${PYTHON:-python3.12}
mkdir -p "$1" && cd "$1"
rm -rf site vllm sglang fa4 wheels && mkdir site vllm sglang fa4 wheels

"$python" -m pip install --quiet --no-deps --no-compile --target site -r "$here/packages.txt"
# what only another engine, other cards or a linker want
find site/lmdeploy \( -name '*turbomind*.so' -o -path '*/turbomind/*' -size +2M \) -delete
rm -rf site/xgrammar/lib/*.a site/bin site/share site/pyarrow/libarrow_flight*
find site \( -name '*.so' -o -name '*.so.*' \) -path '*/xgrammar/*' -exec strip {} +
mkdir -p site/editdistance # a source package; EvalScope's texts want the one function
cat > site/editdistance/__init__.py <<'PYTHON'
def eval(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]
PYTHON

"$python" -m pip download --quiet --no-deps --dest wheels vllm==0.24.0
# Hopper attends with the third flash attention; headers and kernels of other cards and quantisations stay behind
unzip -q wheels/vllm-*.whl -d vllm -x '*/_vllm_fa2_C*' 'vllm/vllm-rs' '*/third_party/*/include/*' '*/_qutlass_C*' '*/_flashmla_*'

# SGLang: 0.5.16 wants PyTorch 2.11 and an older transformers, so it goes before the other packages. Its flash attention (1.1 GB of
# kernels) stays behind: it is started with --attention-backend triton. flashinfer is imported and not used (--sampling-backend
# pytorch), xgrammar neither (--grammar-backend none)
"$python" -m pip install --quiet --no-deps --no-compile --target sglang sglang==0.5.16 sglang-kernel==0.4.5 transformers==5.12.1 \
  flashinfer-python==0.6.14 apache-tvm-ffi==0.1.11 sgl-deep-gemm==0.1.4.post1 torch-memory-saver==0.0.10 quack-kernels==0.6.5 \
  ipython==9.18.1 traitlets==5.16.1 gguf==0.19.0 soundfile==0.14.0 cloudpickle==3.1.3 annotated-doc==0.0.7
rm -rf sglang/sgl_kernel/{flash_ops*,infllm_ops*,flashmla_ops*,sm100} sglang/{bin,share}
sed -i 's/tokenizers>=0.22.0,<=0.23.0/tokenizers>=0.22.0,<=0.24.0/' sglang/transformers/dependency_versions_table.py

# flash attention 4, which compiles its kernels where it runs
"$python" -m pip install --quiet --no-deps --no-compile --target fa4 flash-attn-4==4.0.0b36 quack-kernels==0.6.5 einops==0.8.2 \
  apache-tvm-ffi==0.1.11 torch-c-dlpack-ext==0.1.5 nvidia-cutlass-dsl{,-libs-base,-libs-core,-libs-cu13}==4.8.1

for kind in site vllm sglang fa4; do
  find "$kind" -name __pycache__ -prune -exec rm -rf {} +
  tar -C "$kind" -cf - . | xz -T0 -4 | split -b 51000000 -d - "$kind.tar.xz."
done
rm -rf site vllm sglang fa4 wheels
ls -l
