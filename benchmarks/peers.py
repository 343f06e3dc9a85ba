"""The registration tools cnnreg is compared with, in process: each takes two images and gives a field.

Images are float32 NumPy arrays of one shape, intensities in [0, 1]; a field is a float32 tensor (1, 2, H, W) in pixels
of the fixed grid, pulling, rows first, as everywhere in cnnreg. Every image gets unit spacing and origin 0, so that the
physical units of these tools, (x, y), are pixels. Install them with ``pip install 'cnnreg[peers]'`` in an environment
of their own.
"""

import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

Peer = Callable[[np.ndarray, np.ndarray], torch.Tensor]


def from_xy(vectors: np.ndarray) -> torch.Tensor:
    """Field (1, 2, H, W) from vectors (H, W, 2) in (x, y)."""
    return torch.from_numpy(np.ascontiguousarray(vectors[..., ::-1], dtype=np.float32)).permute(2, 0, 1)[None]


def elastix_with(changes: dict[str, list[str]], spacing: float = 16.0) -> Peer:
    """elastix with its default B-spline parameter map, 4 resolutions, and these changes."""
    import itk

    parameters = itk.ParameterObject.New()
    spline = parameters.GetDefaultParameterMap("bspline", 4, spacing)
    for key, value in changes.items():
        spline[key] = value
    parameters.AddParameterMap(spline)

    def register(fixed: np.ndarray, moving: np.ndarray) -> torch.Tensor:
        image = itk.image_from_array(moving)
        _, transform = itk.elastix_registration_method(
            itk.image_from_array(fixed), image, parameter_object=parameters, log_to_console=False
        )
        with tempfile.TemporaryDirectory() as folder:  # where transformix leaves a file that nobody asked for
            vectors = itk.transformix_deformation_field(image, transform, output_directory=folder, log_to_console=False)
        return from_xy(itk.array_from_image(vectors))

    return register


def elastix_default() -> Peer:
    """Mattes mutual information and bending energy, B-spline grid of 16 px."""
    return elastix_with({})


def elastix_ncc() -> Peer:
    """Normalised correlation, B-spline grid of 16 px, 500 iterations with 4096 samples: tuned on cardiac MR."""
    return elastix_with(
        {
            "Registration": ["MultiResolutionRegistration"],
            "Metric": ["AdvancedNormalizedCorrelation"],
            "MaximumNumberOfIterations": ["500"],
            "NumberOfSpatialSamples": ["4096"],
        }
    )


def greedy() -> Peer:
    """greedy with NCC of radius 4, 100x50x20 iterations, blurs of 2 and 0.5 px."""
    import picsl_greedy

    def register(fixed: np.ndarray, moving: np.ndarray) -> torch.Tensor:
        tool = picsl_greedy.Greedy2D()
        tool.execute(
            "-d 2 -m NCC 4x4 -i fixed moving -n 100x50x20 -s 2.0vox 0.5vox -o field -V 0",
            fixed=sitk.GetImageFromArray(fixed),
            moving=sitk.GetImageFromArray(moving),
            field=None,
            out=io.StringIO(),
        )
        return from_xy(sitk.GetArrayFromImage(tool["field"]))

    return register


def ants_syn() -> Peer:
    """ANTs SyN with cross-correlation of radius 4, four levels."""
    import ants

    def register(fixed: np.ndarray, moving: np.ndarray) -> torch.Tensor:
        with tempfile.TemporaryDirectory() as folder:
            result = ants.registration(
                ants.from_numpy(fixed.T),  # ANTsPy arrays are indexed (x, y)
                ants.from_numpy(moving.T),
                type_of_transform="SyNOnly",
                initial_transform="Identity",
                syn_metric="CC",
                syn_sampling=4,
                reg_iterations=(100, 70, 50, 20),
                outprefix=str(Path(folder) / "ants"),
            )
            warp = next(name for name in result["fwdtransforms"] if name.endswith("Warp.nii.gz"))
            vectors = sitk.GetArrayFromImage(sitk.ReadImage(warp))
        return from_xy(vectors.reshape(*fixed.shape, 2))

    return register


def itk_demons() -> Peer:
    """ITK's diffeomorphic demons, 100 iterations on each of three levels, update and field blurred 1 px."""

    def register(fixed: np.ndarray, moving: np.ndarray) -> torch.Tensor:
        images = sitk.GetImageFromArray(fixed), sitk.GetImageFromArray(moving)
        field = None
        for factor in (4, 2, 1):
            reference, source = (
                sitk.Shrink(sitk.SmoothingRecursiveGaussian(image, factor / 2), [factor] * 2) if factor > 1 else image
                for image in images
            )
            demons = sitk.DiffeomorphicDemonsRegistrationFilter()
            demons.SetNumberOfIterations(100)
            demons.SetSmoothDisplacementField(True)
            demons.SetStandardDeviations(1.0)
            if field is None:
                field = demons.Execute(reference, source)
            else:
                field = demons.Execute(reference, source, sitk.Resample(field, reference, sitk.Transform()))
        assert field is not None
        return from_xy(sitk.GetArrayFromImage(field))

    return register


PEERS: dict[str, Callable[[], Peer]] = {
    "elastix, default B-spline": elastix_default,
    "elastix, NCC": elastix_ncc,
    "ANTs SyN, CC 4": ants_syn,
    "greedy, NCC 4x4": greedy,
    "ITK demons": itk_demons,
}
