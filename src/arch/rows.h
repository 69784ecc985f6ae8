#pragma once

#include "reducenet/arch.h"

namespace reducenet {

// One builder an architecture; the table is in architectures.cc.
Graph build_reduce(const ArchOptions& options);
Graph build_article(const ArchOptions& options);
Graph build_gen2(const ArchOptions& options);
Graph build_gen3(const ArchOptions& options);
Graph build_vanillanet(const ArchOptions& options);
Graph build_vanillanet_cifar(const ArchOptions& options);
Graph build_plain(const ArchOptions& options);
Graph build_resnet_article(const ArchOptions& options);
Graph build_resnet(const ArchOptions& options);
Graph build_resnet_bottleneck(const ArchOptions& options);
Graph build_vgg(const ArchOptions& options);
Graph build_mobilenetv2(const ArchOptions& options);
Graph build_densenet(const ArchOptions& options);
Graph build_convnext(const ArchOptions& options);
Graph build_condconv(const ArchOptions& options);
Graph build_skipnet(const ArchOptions& options);
Graph build_detachnet(const ArchOptions& options);
Graph build_single_layer(const ArchOptions& options);
Graph build_patch_grid(const ArchOptions& options);
Graph build_softmax(const ArchOptions& options);
Graph build_phase_softmax(const ArchOptions& options);

}  // namespace reducenet
